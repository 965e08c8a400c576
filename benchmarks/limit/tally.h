/* What the sink counts, and the one report of it. A record's stamp against the sequence its connection wants is the check
 * for loss and repeats; what never came shows as missing. */
#ifndef TALLY_H
#define TALLY_H

#include "histogram.h"
#include "process.h"
#include "record.h"

#define CLOSE_CODES 16

static struct {
    uint64_t frames, records, others, bytes, skipped, repeated, early, faults, refused, closed, pings;
    uint64_t first_ns, last_ns; /* CLOCK_REALTIME of the first and the last bytes */
    struct histogram latency;
} counts;
static struct {
    unsigned code;
    uint64_t count;
} close_codes[CLOSE_CODES];
static uint64_t counting_since_ns; /* CLOCK_MONOTONIC */
static double cpu_before;

static inline double elapsed_seconds(void)
{
    return (double)(clock_ns(CLOCK_MONOTONIC) - counting_since_ns) / 1e9;
}

static inline double cpu_seconds(void)
{
    return (double)clock_ns(CLOCK_PROCESS_CPUTIME_ID) / 1e9;
}

static inline void reset_counts(void)
{
    memset(&counts, 0, sizeof counts);
    memset(close_codes, 0, sizeof close_codes);
    counting_since_ns = clock_ns(CLOCK_MONOTONIC);
    cpu_before = cpu_seconds();
}

static inline void count_bytes(size_t bytes, uint64_t now)
{
    counts.bytes += bytes;
    if (!counts.first_ns)
        counts.first_ns = now;
    counts.last_ns = now;
}

/* Takes a record of a connection that wants sequence number *next. */
static inline void count_record(struct stamp stamp, uint64_t *next, uint64_t now)
{
    counts.records++;
    if (stamp.sequence == *next) {
        ++*next;
    } else if (stamp.sequence > *next) {
        counts.skipped += stamp.sequence - *next;
        *next = stamp.sequence + 1;
    } else {
        counts.repeated++; /* or out of order: then it was counted as skipped before */
    }
    counts.early += stamp.time_ns > now;
    histogram_add(&counts.latency, stamp.time_ns > now ? 0 : now - stamp.time_ns);
}

static inline void count_close(unsigned code)
{
    int i = 0;
    while (i < CLOSE_CODES - 1 && close_codes[i].count && close_codes[i].code != code)
        i++;
    close_codes[i].code = code;
    close_codes[i].count++;
}

static inline void print_close_codes(void)
{
    printf(",\"close_codes\":{");
    for (int i = 0; i < CLOSE_CODES && close_codes[i].count; i++)
        printf("%s\"%u\":%llu", i ? "," : "", close_codes[i].code, (unsigned long long)close_codes[i].count);
    printf("}");
}

/* `timed_out` tells whether it came because of the deadline; `missing` what was expected and has not come. */
static inline void print_report(int timed_out, unsigned connections, unsigned ready, uint64_t missing)
{
    const struct {
        const char *name;
        uint64_t value;
    } fields[] = {
        {"connections", connections}, {"ready", ready}, {"frames", counts.frames}, {"records", counts.records},
        {"others", counts.others}, {"bytes", counts.bytes}, {"missing", missing}, {"skipped", counts.skipped},
        {"repeated", counts.repeated}, {"early", counts.early}, {"faults", counts.faults},
        {"refused", counts.refused}, {"closed", counts.closed}, {"pings", counts.pings},
        {"first_ns", counts.first_ns}, {"last_ns", counts.last_ns}};
    printf("{\"event\":\"report\",\"timed_out\":%s", timed_out ? "true" : "false");
    for (unsigned i = 0; i < sizeof fields / sizeof *fields; i++)
        printf(",\"%s\":%llu", fields[i].name, (unsigned long long)fields[i].value);
    printf(",\"elapsed_seconds\":%.6f,\"cpu_seconds\":%.6f", elapsed_seconds(), cpu_seconds() - cpu_before);
    print_close_codes();
    printf(",\"latency_ns\":");
    histogram_print(&counts.latency, stdout);
    printf("}\n");
    fflush(stdout);
}

#endif
