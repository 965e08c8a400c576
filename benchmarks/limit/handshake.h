/* The server's half of the WebSocket opening handshake (RFC 6455 4.2.2): SHA-1, base64 and the answer. */
#ifndef HANDSHAKE_H
#define HANDSHAKE_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static inline uint32_t rotate(uint32_t word, int bits)
{
    return word << bits | word >> (32 - bits);
}

/* One 64-byte block of SHA-1 (FIPS 180-4, 6.1.2). */
static inline void sha1_block(uint32_t state[5], const unsigned char *block)
{
    uint32_t w[80], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 |
               block[4 * i + 3];
    for (int i = 16; i < 80; i++)
        w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t mix, constant;
        if (i < 20)
            mix = (b & c) | (~b & d), constant = 0x5A827999;
        else if (i < 40)
            mix = b ^ c ^ d, constant = 0x6ED9EBA1;
        else if (i < 60)
            mix = (b & c) | (b & d) | (c & d), constant = 0x8F1BBCDC;
        else
            mix = b ^ c ^ d, constant = 0xCA62C1D6;
        uint32_t next = rotate(a, 5) + mix + e + constant + w[i];
        e = d, d = c, c = rotate(b, 30), b = a, a = next;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
}

/* SHA-1 of at most 119 bytes (a key and the GUID are 60): two blocks are enough. */
static inline void sha1(const char *text, size_t length, unsigned char digest[20])
{
    uint32_t state[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    unsigned char blocks[128] = {0};
    size_t used = length < 56 ? 64 : 128;
    memcpy(blocks, text, length);
    blocks[length] = 0x80;
    blocks[used - 2] = (unsigned char)(length * 8 >> 8);
    blocks[used - 1] = (unsigned char)(length * 8);
    for (size_t at = 0; at < used; at += 64)
        sha1_block(state, blocks + at);
    for (int i = 0; i < 20; i++)
        digest[i] = (unsigned char)(state[i / 4] >> (24 - 8 * (i % 4)));
}

/* Sec-WebSocket-Accept for a Sec-WebSocket-Key of 24 characters: 28 characters and a terminator. */
static inline void accept_key(const char *key, char accept[29])
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char text[64];
    unsigned char digest[21] = {0};
    int length = snprintf(text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    sha1(text, (size_t)length, digest);
    for (int group = 0; group < 7; group++) {
        const unsigned char *in = digest + 3 * group;
        uint32_t bits = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];
        for (int i = 0; i < 4; i++)
            accept[4 * group + i] = alphabet[bits >> (18 - 6 * i) & 63];
    }
    accept[27] = '=';
    accept[28] = 0;
}

/* Where the value of header `name` begins in a complete request head, or NULL. */
static inline const char *find_header(const char *head, const char *name)
{
    size_t length = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, length) == 0 && line[length] == ':')
            return line + length + 1 + strspn(line + length + 1, " ");
    }
    return NULL;
}

/* The 101 answer to a complete request head, echoing the first subprotocol offered; returns its length, 0 when the
 * request is no WebSocket handshake. */
static inline size_t answer_handshake(const char *head, char *out, size_t size)
{
    const char *key = find_header(head, "Sec-WebSocket-Key"), *offered = find_header(head, "Sec-WebSocket-Protocol");
    char accept[29], protocol[128] = "";
    if (!key)
        return 0;
    accept_key(key, accept);
    if (offered)
        snprintf(protocol, sizeof protocol, "Sec-WebSocket-Protocol: %.*s\r\n", (int)strcspn(offered, ",\r"), offered);
    return (size_t)snprintf(out, size,
                            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            "Sec-WebSocket-Accept: %s\r\n%s\r\n",
                            accept, protocol);
}

#endif
