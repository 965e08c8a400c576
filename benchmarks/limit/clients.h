/* The limit gateway's clients: the table of them, from accept() over the handshake to live, and the hash of their keys. */
#ifndef CLIENTS_H
#define CLIENTS_H

#include "handshake.h"
#include "process.h"
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#define REQUEST_BYTES 2048
#define KEY_BYTES 64
#define KEY_BUCKETS 65536
#define PIECES 16

/* Framed records of one consumed batch, shared by all connections; the list of them is what those behind still read. */
struct batch {
    struct batch *next;
    unsigned readers;
    size_t length;
    char bytes[];
};

struct connection {
    int fd, live, begun; /* begun: --replay has put it at the first batch */
    size_t index;           /* its place in `connections` */
    char *request;          /* while in the handshake */
    size_t request_length;
    struct batch *at;       /* the batch it is behind in, NULL when it has everything */
    size_t sent;            /* bytes of `at` already sent */
    char key[KEY_BYTES];
    struct connection *next_of_bucket;
    struct iovec pieces[PIECES]; /* keyed: its records of the present batch */
    int piece_count;
    char *rest;             /* keyed: what the kernel did not take */
    size_t rest_length, rest_size;
};

static struct connection **connections, *buckets[KEY_BUCKETS];
static struct connection **touched; /* keyed: those that have pieces of the present batch, each once */
static size_t connection_count, connection_size, touched_count;
static unsigned long long handshakes;
static int epoll_fd;

static unsigned bucket_of(const char *key, size_t length)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)key[i]) * 16777619u;
    return hash % KEY_BUCKETS;
}

static void leave_bucket(struct connection *connection)
{
    struct connection **link = &buckets[bucket_of(connection->key, strlen(connection->key))];
    while (*link && *link != connection)
        link = &(*link)->next_of_bucket;
    if (*link)
        *link = connection->next_of_bucket;
}

static void close_connection(struct connection *connection)
{
    if (connection->at)
        connection->at->readers--;
    if (connection->live)
        leave_bucket(connection);
    connections[connection->index] = connections[--connection_count];
    connections[connection->index]->index = connection->index;
    close(connection->fd);
    free(connection->request);
    free(connection->rest);
    free(connection);
}

/* `lowat` is TCP_NOTSENT_LOWAT in bytes, 0 = the kernel's. */
static void accept_connections(int listen_fd, int lowat)
{
    for (int fd; (fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        struct connection *connection = allocate(1, sizeof *connection);
        set_nodelay(fd);
        if (lowat)
            setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof lowat);
        if (connection_count == connection_size) {
            connection_size = connection_size ? 2 * connection_size : 1024;
            connections = resize(connections, connection_size * sizeof *connections);
            touched = resize(touched, connection_size * sizeof *touched);
        }
        connection->fd = fd;
        connection->index = connection_count;
        connection->request = allocate(1, REQUEST_BYTES);
        connections[connection_count++] = connection;
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = connection};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    }
}

static void go_live(struct connection *connection, int keyed)
{
    const char *key = strstr(connection->request, "key=");
    if (keyed && key) {
        snprintf(connection->key, KEY_BYTES, "%.*s", (int)strcspn(key + 4, "& \r"), key + 4);
        struct connection **bucket = &buckets[bucket_of(connection->key, strlen(connection->key))];
        connection->next_of_bucket = *bucket;
        *bucket = connection;
    }
    connection->live = 1;
    handshakes++;
    free(connection->request);
    connection->request = NULL;
}

/* Reads what a client sent: the handshake, afterwards nothing that counts. Returns -1 when the connection is gone. */
static int read_client(struct connection *connection, int keyed)
{
    char discarded[4096], answer[512];
    for (;;) {
        char *into = connection->live ? discarded : connection->request + connection->request_length;
        size_t room = connection->live ? sizeof discarded : REQUEST_BYTES - 1 - connection->request_length;
        ssize_t got = recv(connection->fd, into, room, 0);
        if (got < 0 && errno == EAGAIN)
            return 0;
        if (got <= 0)
            return -1;
        if (connection->live)
            continue;
        connection->request_length += (size_t)got;
        if (!strstr(connection->request, "\r\n\r\n"))
            continue;
        size_t length = answer_handshake(connection->request, answer, sizeof answer);
        if (!length || send(connection->fd, answer, length, MSG_NOSIGNAL) != (ssize_t)length)
            return -1;
        go_live(connection, keyed);
    }
}

#endif
