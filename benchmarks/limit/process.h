/* What every limit program needs of its process: clocks in nanoseconds, a way to fail, file descriptors, sockets. */
#ifndef PROCESS_H
#define PROCESS_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#define NANOSECONDS 1000000000ull

static inline uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NANOSECONDS + (uint64_t)now.tv_nsec;
}

__attribute__((format(printf, 1, 2), noreturn)) static inline void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static inline void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (!memory)
        fail("out of memory");
    return memory;
}

static inline void *resize(void *memory, size_t size)
{
    memory = realloc(memory, size);
    if (!memory)
        fail("out of memory");
    return memory;
}

/* Thousands of connections need more than the usual soft limit of 1,024 descriptors. */
static inline void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static inline void set_nodelay(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* "127.0.0.1:8080" to a socket address; numeric addresses only, a benchmark resolves no names. */
static inline struct sockaddr_in parse_address(const char *text)
{
    char host[64];
    unsigned port;
    struct sockaddr_in address = {.sin_family = AF_INET};
    if (sscanf(text, "%63[^:]:%u", host, &port) != 2 || inet_pton(AF_INET, host, &address.sin_addr) != 1)
        fail("not an address: %s", text);
    address.sin_port = htons((uint16_t)port);
    return address;
}

/* A listening socket at `address`; port 0 takes a free one, which is written back. */
static inline int listen_at(struct sockaddr_in *address, int flags)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | flags, 0);
    socklen_t size = sizeof *address;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)address, size) || listen(fd, 4096) ||
        getsockname(fd, (struct sockaddr *)address, &size))
        fail("listen: %s", strerror(errno));
    return fd;
}

#endif
