/* A consumed record as the frame that every subscriber gets: its value, or the envelope of /ws around it. */
#ifndef FRAMING_H
#define FRAMING_H

#include "rdkafka_min.h"
#include <stdio.h>
#include <string.h>

#define ENVELOPE_BYTES 512 /* room for an envelope and the frame's head */

/* The head of an unmasked text frame (RFC 6455 5.2). */
static inline char *write_frame_head(char *at, size_t length)
{
    *at++ = (char)0x81;
    if (length < 126) {
        *at++ = (char)length;
        return at;
    }
    int bytes = length < 65536 ? 2 : 8;
    *at++ = bytes == 2 ? 126 : 127;
    for (int i = bytes - 1; i >= 0; i--)
        *at++ = (char)(length >> 8 * i);
    return at;
}

/* Writes one frame; `topic` is NULL for a bare value. Returns where it ends. */
static inline char *write_record(char *at, const rd_kafka_message_t *record, const char *topic)
{
    char head[ENVELOPE_BYTES];
    size_t head_length = 0;
    if (topic)
        head_length = (size_t)snprintf(
            head, sizeof head,
            "{\"id\":    1,\"type\":\"record\",\"topic\":\"%s\",\"partition\":%d,\"offset\":%lld,\"timestamp\":%lld,"
            "\"key\":\"%.*s\",\"value\":",
            topic, record->partition, (long long)record->offset,
            (long long)rd_kafka_message_timestamp(record, NULL), (int)record->key_len,
            record->key ? (char *)record->key : "");
    at = write_frame_head(at, head_length + record->len + (topic ? 1 : 0));
    at = mempcpy(at, head, head_length);
    at = mempcpy(at, record->payload, record->len);
    if (topic)
        *at++ = '}';
    return at;
}

#endif
