/* The benchmark record, written by the producer and read by the sink:
 *
 *     {"t":1763862162044123456,"n":17,"pad":"xxxx"}
 *
 * t is the intended send time (CLOCK_REALTIME, nanoseconds, always 19 digits until the year 2286), n the sequence
 * number. It is JSON, so that an envelope carries it as it stands, and the mark occurs in no envelope before it.
 */
#ifndef RECORD_H
#define RECORD_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define RECORD_MARK "{\"t\":"
#define RECORD_MARK_BYTES 5
#define RECORD_TIME_DIGITS 19
#define RECORD_SEQUENCE ",\"n\":"
#define RECORD_SEQUENCE_BYTES 5
#define RECORD_HEAD_BYTES (RECORD_MARK_BYTES + RECORD_TIME_DIGITS + RECORD_SEQUENCE_BYTES)
#define RECORD_LEAST_BYTES 64

struct stamp {
    uint64_t time_ns;
    uint64_t sequence;
};

/* Writes exactly `bytes` (at least RECORD_LEAST_BYTES) to `out`. */
static inline void record_write(char *out, size_t bytes, struct stamp stamp)
{
    int head = sprintf(out, RECORD_MARK "%019llu" RECORD_SEQUENCE "%llu,\"pad\":\"",
                       (unsigned long long)stamp.time_ns, (unsigned long long)stamp.sequence);
    memset(out + head, 'x', bytes - (size_t)head - 2);
    memcpy(out + bytes - 2, "\"}", 2);
}

/* Reads the stamp of a record inside `payload`. `hint` is where the last one of this stream was found: an envelope's
 * head changes its length only with its digits, so that nearly every record is found without a search. Returns 0 when
 * the payload holds no record. */
static inline int record_read(const char *payload, size_t length, uint32_t *hint, struct stamp *stamp)
{
    const char *at = payload + *hint, *end = payload + length;
    if (*hint + RECORD_HEAD_BYTES >= length || memcmp(at, RECORD_MARK, RECORD_MARK_BYTES) != 0) {
        at = memmem(payload, length, RECORD_MARK, RECORD_MARK_BYTES);
        if (!at || at + RECORD_HEAD_BYTES >= end)
            return 0;
        *hint = (uint32_t)(at - payload);
    }
    at += RECORD_MARK_BYTES;
    stamp->time_ns = 0;
    for (int digit = 0; digit < RECORD_TIME_DIGITS; digit++)
        stamp->time_ns = stamp->time_ns * 10 + (uint64_t)(at[digit] - '0');
    at += RECORD_TIME_DIGITS;
    if (memcmp(at, RECORD_SEQUENCE, RECORD_SEQUENCE_BYTES) != 0)
        return 0;
    stamp->sequence = 0;
    for (at += RECORD_SEQUENCE_BYTES; at < end && *at >= '0' && *at <= '9'; at++)
        stamp->sequence = stamp->sequence * 10 + (uint64_t)(*at - '0');
    return 1;
}

#endif
