/* The sink's connections: their state, and their way from connect() over the handshake to being ready. */
#ifndef CONNECTIONS_H
#define CONNECTIONS_H

#include "client.h"
#include "process.h"
#include "tally.h"
#include <sys/epoll.h>
#include <unistd.h>

#define CONNECTIONS_PER_ADDRESS 20000 /* Linux has 28,232 ephemeral ports for one pair of addresses */
#define COMMAND_BYTES 4096

enum phase { UNUSED, CONNECTING, HANDSHAKE, OPEN, READY, CLOSED };

struct connection {
    int fd;
    enum phase phase;
    uint32_t hint;    /* where the stamp was found in the last record */
    uint64_t records; /* since the last reset */
    uint64_t next;    /* sequence number wanted */
    char *rest;       /* the beginning of a frame not complete yet */
    size_t rest_length;
};

static struct {
    struct sockaddr_in server;
    const char *host, *path, *protocol, *command, *ready;
    unsigned connections, ramp, pings;
    double timeout, settle, ping_every;
    uint64_t expect;
    int once, resume, lines; /* resume: connection i has had its first i records before; lines: a message a line */
} options = {.path = "/", .connections = 1, .ramp = 128, .timeout = 30, .settle = 0.1};
static struct connection *all;
static unsigned opened, ready_count, failed_count; /* failed: gone before they were ready */
static int epoll_fd;

static void tell(const char *event)
{
    printf("{\"event\":\"%s\",\"connections\":%u,\"seconds\":%.6f}\n", event, ready_count, elapsed_seconds());
    fflush(stdout);
}

static void close_connection(struct connection *connection)
{
    if (connection->phase == CLOSED)
        return;
    counts.closed++;
    if (connection->phase != READY && !failed_count++)
        tell("failed");
    connection->phase = CLOSED;
    close(connection->fd);
    free(connection->rest);
    connection->rest = NULL;
    connection->rest_length = 0;
}

/* Commands, pongs and closes are small and rare: when the kernel does not take one at once, the gateway is broken. */
static void send_frame(struct connection *connection, unsigned char opcode, const char *payload, size_t length)
{
    char frame[COMMAND_BYTES + 16];
    size_t size = write_masked(frame, opcode, payload, length);
    if (send(connection->fd, frame, size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)size)
        counts.faults++;
}

static void become_ready(struct connection *connection)
{
    connection->phase = READY;
    if (++ready_count == options.connections)
        tell("ready");
}

static void open_connection(unsigned number)
{
    struct connection *connection = &all[number];
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0)
        fail("connection %u: %s", number, strerror(errno));
    connection->fd = fd;
    connection->phase = CONNECTING;
    set_nodelay(fd);
    if (number >= CONNECTIONS_PER_ADDRESS) {
        struct sockaddr_in source = {.sin_family = AF_INET,
                                     .sin_addr.s_addr = htonl(0x7F000001 + number / CONNECTIONS_PER_ADDRESS)};
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        bind(fd, (struct sockaddr *)&source, sizeof source);
    }
    if (connect(fd, (struct sockaddr *)&options.server, sizeof options.server) && errno != EINPROGRESS)
        fail("connection %u: %s", number, strerror(errno));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = connection};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

/* At most --ramp connections are on their way at a time. */
static void open_more(void)
{
    while (opened < options.connections && opened - ready_count - failed_count < options.ramp)
        open_connection(opened++);
}

static void send_request(struct connection *connection)
{
    char path[COMMAND_BYTES], request[COMMAND_BYTES + 512];
    fill(path, sizeof path, options.path, (unsigned)(connection - all));
    size_t length = write_request(request, sizeof request, options.host, path, options.protocol);
    if (send(connection->fd, request, length, MSG_NOSIGNAL) != (ssize_t)length) {
        close_connection(connection);
        return;
    }
    connection->phase = HANDSHAKE;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, connection->fd, &event);
}

/* Reads the answer's head. Returns the bytes it takes, 0 when it is not complete, -1 when it is a refusal. */
static ptrdiff_t read_answer(struct connection *connection, const char *data, size_t size)
{
    char command[COMMAND_BYTES];
    const char *end = memmem(data, size, "\r\n\r\n", 4);
    if (!end)
        return 0;
    if (memcmp(data, "HTTP/1.1 101", 12) != 0 || !memmem(data, (size_t)(end - data), CLIENT_ACCEPT, 28)) {
        if (!counts.refused++)
            fprintf(stderr, "refused: %.*s\n", (int)size, data);
        return -1;
    }
    connection->phase = OPEN;
    if (options.command) {
        fill(command, sizeof command, options.command, (unsigned)(connection - all));
        send_frame(connection, OPCODE_TEXT, command, strlen(command));
    }
    if (!options.ready)
        become_ready(connection);
    return end + 4 - data;
}

#endif
