/* The floor under every fan-out: a bare send() loop over N loopback connections, nothing else.
 *
 *     sendloop CONNECTIONS FRAME_BYTES FRAMES_PER_SEND SECONDS
 *
 * Each round sends the same FRAMES_PER_SEND frames with one send() to every connection; a `drain` process beside it
 * throws them away. Sockets are blocking: a send that has to wait for the drain costs time, not CPU. Prints one JSON
 * line with the deliveries (frames x connections) per second of this process's CPU.
 */
#define _GNU_SOURCE
#include "process.h"
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void start_drain(const char *self, const struct sockaddr_in *listening, int connections)
{
    char path[4096], address[32], count[16];
    const char *slash = strrchr(self, '/');
    snprintf(path, sizeof path, "%.*sdrain", slash ? (int)(slash + 1 - self) : 0, self);
    snprintf(address, sizeof address, "127.0.0.1:%u", ntohs(listening->sin_port));
    snprintf(count, sizeof count, "%d", connections);
    if (fork() == 0) {
        execlp(path, path, address, count, (char *)NULL);
        fail("%s: %s", path, strerror(errno));
    }
}

static int *accept_all(int listen_fd, int connections)
{
    int *sockets = allocate((size_t)connections, sizeof *sockets);
    for (int i = 0; i < connections; i++) {
        sockets[i] = accept(listen_fd, NULL, NULL);
        if (sockets[i] < 0)
            fail("accept: %s", strerror(errno));
        set_nodelay(sockets[i]);
    }
    return sockets;
}

static void send_round(const int *sockets, int connections, const char *frames, size_t length)
{
    for (int i = 0; i < connections; i++)
        for (size_t sent = 0; sent < length;) {
            ssize_t took = send(sockets[i], frames + sent, length - sent, MSG_NOSIGNAL);
            if (took < 0)
                fail("send: %s", strerror(errno));
            sent += (size_t)took;
        }
}

int main(int argc, char **argv)
{
    if (argc != 5)
        fail("usage: sendloop CONNECTIONS FRAME_BYTES FRAMES_PER_SEND SECONDS");
    int connections = atoi(argv[1]);
    size_t frames = strtoull(argv[3], NULL, 10), length = strtoull(argv[2], NULL, 10) * frames;
    uint64_t lasts = (uint64_t)(atof(argv[4]) * 1e9);
    raise_descriptor_limit();
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listen_fd = listen_at(&address, 0);
    start_drain(argv[0], &address, connections);
    int *sockets = accept_all(listen_fd, connections);
    char *block = allocate(length, 1);
    send_round(sockets, connections, block, length); /* the kernel's first allocations are not what is measured */

    uint64_t rounds = 0, wall = clock_ns(CLOCK_MONOTONIC), cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID), elapsed;
    do {
        send_round(sockets, connections, block, length);
        rounds++;
        elapsed = clock_ns(CLOCK_MONOTONIC) - wall;
    } while (elapsed < lasts);
    cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    double deliveries = (double)rounds * (double)frames * (double)connections;
    printf("{\"event\":\"report\",\"connections\":%d,\"frames_per_send\":%zu,\"deliveries\":%.0f,\"seconds\":%.6f,"
           "\"cpu_seconds\":%.6f,\"deliveries_per_cpu_second\":%.0f}\n",
           connections, frames, deliveries, (double)elapsed / 1e9, (double)cpu / 1e9, deliveries / ((double)cpu / 1e9));
    for (int i = 0; i < connections; i++)
        close(sockets[i]);
    wait(NULL);
    return 0;
}
