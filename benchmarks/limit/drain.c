/* The other end of a send loop: opens N connections to HOST:PORT and throws away what comes, as cheaply as it can be
 * done (epoll, MSG_TRUNC: the kernel frees the data and copies nothing). Ends when every connection is closed.
 * Used by sendloop.c and by the in-process benchmarks of the fan-out, so that both send to the same.
 */
#define _GNU_SOURCE
#include "process.h"
#include <sys/epoll.h>
#include <unistd.h>

#define DISCARD_BYTES (1 << 20)
#define CONNECTIONS_PER_ADDRESS 20000

static void open_connection(int epoll_fd, const struct sockaddr_in *server, int number)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (number >= CONNECTIONS_PER_ADDRESS) {
        struct sockaddr_in source = {.sin_family = AF_INET};
        source.sin_addr.s_addr = htonl(0x7F000001u + (unsigned)(number / CONNECTIONS_PER_ADDRESS));
        bind(fd, (struct sockaddr *)&source, sizeof source);
    }
    if (fd < 0 || connect(fd, (const struct sockaddr *)server, sizeof *server))
        fail("connection %d: %s", number, strerror(errno));
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        fail("usage: drain HOST:PORT CONNECTIONS");
    raise_descriptor_limit();
    struct sockaddr_in server = parse_address(argv[1]);
    int open = atoi(argv[2]), epoll_fd = epoll_create1(0);
    for (int number = 0; number < open; number++)
        open_connection(epoll_fd, &server, number);
    struct epoll_event events[512];
    while (open > 0) {
        int count = epoll_wait(epoll_fd, events, 512, -1);
        for (int i = 0; i < count; i++)
            if (recv(events[i].data.fd, NULL, DISCARD_BYTES, MSG_TRUNC | MSG_DONTWAIT) <= 0 && errno != EAGAIN) {
                close(events[i].data.fd);
                open--;
            }
    }
    return 0;
}
