/* The client's half of RFC 6455, as far as the sink needs it: the request, masked frames out, frame heads in. */
#ifndef CLIENT_H
#define CLIENT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define OPCODE_CONTINUATION 0x0
#define OPCODE_TEXT 0x1
#define OPCODE_BINARY 0x2
#define OPCODE_CLOSE 0x8
#define OPCODE_PING 0x9
#define OPCODE_PONG 0xA

/* The key of RFC 6455 1.3 and its answer: the sink tests the gateway's speed, not its randomness. */
#define CLIENT_KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define CLIENT_ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

struct frame {
    unsigned char opcode;
    const char *payload;
    size_t length;
};

/* The opening handshake for `path`; `protocol` may be NULL. Returns its length. */
static inline size_t write_request(char *out, size_t size, const char *host, const char *path, const char *protocol)
{
    return (size_t)snprintf(out, size,
                            "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            "Sec-WebSocket-Key: " CLIENT_KEY "\r\nSec-WebSocket-Version: 13\r\n%s%s%s\r\n",
                            path, host, protocol ? "Sec-WebSocket-Protocol: " : "", protocol ? protocol : "",
                            protocol ? "\r\n" : "");
}

/* Writes a template with the connection's number for %d; a user's percent sign in it stays as it is. */
static inline void fill(char *out, size_t size, const char *template, unsigned number)
{
    const char *mark = strstr(template, "%d"), *wide = strstr(template, "%06d");
    if (wide)
        snprintf(out, size, "%.*s%06u%s", (int)(wide - template), template, number, wide + 4);
    else if (mark)
        snprintf(out, size, "%.*s%u%s", (int)(mark - template), template, number, mark + 2);
    else
        snprintf(out, size, "%s", template);
}

/* A masked frame of at most 65,535 bytes of payload; `out` has 8 bytes more room. Returns its length. */
static inline size_t write_masked(char *out, unsigned char opcode, const char *payload, size_t length)
{
    static const unsigned char mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    size_t at = 0;
    out[at++] = (char)(0x80 | opcode);
    if (length < 126) {
        out[at++] = (char)(0x80 | length);
    } else {
        out[at++] = (char)(0x80 | 126);
        out[at++] = (char)(length >> 8);
        out[at++] = (char)length;
    }
    memcpy(out + at, mask, 4);
    at += 4;
    for (size_t i = 0; i < length; i++)
        out[at + i] = (char)(payload[i] ^ mask[i % 4]);
    return at + length;
}

/* Reads one server frame from `size` bytes at `data`. Returns the bytes it takes, 0 when it is not complete, -1 when a
 * server may not send it: masked, fragmented (the gateway sends one record as one frame), reserved bits. */
static inline ptrdiff_t read_frame(const char *data, size_t size, struct frame *frame)
{
    const unsigned char *head = (const unsigned char *)data;
    size_t taken = 2;
    if (size < 2)
        return 0;
    if ((head[0] & 0xF0) != 0x80 || head[1] & 0x80 || (head[0] & 0x0F) == OPCODE_CONTINUATION)
        return -1;
    uint64_t length = head[1];
    if (length >= 126) {
        size_t bytes = length == 126 ? 2 : 8;
        taken += bytes;
        if (size < taken)
            return 0;
        length = 0;
        for (size_t i = 2; i < taken; i++)
            length = length << 8 | head[i];
    }
    if (size - taken < length)
        return 0;
    *frame = (struct frame){head[0] & 0x0F, data + taken, length};
    return (ptrdiff_t)(taken + length);
}

#endif
