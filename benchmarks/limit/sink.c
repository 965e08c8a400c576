/* The receiving side of every benchmark: thousands of WebSocket connections, every frame parsed, every record checked.
 *
 * Opens --connections to --connect at --path (%d stands for the connection's number), optionally sends a --command
 * (a template too) after the handshake, and counts a connection as ready at once or with the first frame that contains
 * --ready. Each connection's records must come as n = 0, 1, 2, ...; what is skipped, repeated or missing is counted,
 * and a histogram takes now - t (record.h). With --ping-every it sends `ping` commands on a schedule and takes the
 * time to their pongs instead.
 *
 * Prints one JSON line an event: ready, reached (every connection has what `expect` asked for), report. Reads from
 * stdin: `expect N` (counted from the last reset; ends in a report after --settle, or --timeout), `reset`, `report`,
 * `quit`. One thread: it reaches several million frames a second, and its report says how busy it was.
 */
#define _GNU_SOURCE
#include "connections.h"
#include <getopt.h>
#include <sys/timerfd.h>

#define READ_BYTES (256u << 10)
#define LONGEST_BYTES (16u << 20) /* a frame beyond it counts as a fault; the gateway's own limit is 8 MiB */
#define MAX_PINGS 65536

static unsigned short_of;                  /* connections that still lack records */
static uint64_t expected;                  /* records a connection, 0 = nothing is awaited */
static uint64_t deadline_ns;               /* CLOCK_MONOTONIC, 0 = none */
static int input_ended, settling;
static char *buffer;
static uint64_t ping_due_ns[MAX_PINGS], ping_started_ns;
static unsigned pings_sent;

/* --- what is awaited ------------------------------------------------------------------------------------------------------ */

static void report(int timed_out)
{
    uint64_t missing = 0;
    for (unsigned i = 0; i < options.connections; i++)
        missing += expected > all[i].records ? expected - all[i].records : 0;
    print_report(timed_out, options.connections, ready_count, missing);
}

static void set_deadline(double seconds)
{
    deadline_ns = clock_ns(CLOCK_MONOTONIC) + (uint64_t)(seconds * 1e9);
}

/* Every connection has what was expected: keep reading for --settle, so that a repeat behind the last is seen. */
static void reach(void)
{
    tell("reached");
    settling = 1;
    set_deadline(options.settle);
}

static void expect(uint64_t records)
{
    expected = records;
    settling = 0;
    short_of = 0;
    for (unsigned i = 0; i < options.connections; i++)
        short_of += all[i].records < expected;
    set_deadline(options.timeout);
    if (expected && !short_of)
        reach();
}

static void reset(void)
{
    reset_counts();
    for (unsigned i = 0; i < options.connections; i++)
        all[i].records = 0;
    expected = 0;
    deadline_ns = 0;
}

/* --- frames ------------------------------------------------------------------------------------------------------- */

static void take_record(struct connection *connection, struct stamp stamp, uint64_t now)
{
    count_record(stamp, &connection->next, now);
    if (++connection->records == expected && !--short_of)
        reach();
}

static void take_pong(const char *payload, size_t length, uint64_t now)
{
    const char *id = memmem(payload, length, "\"id\":", 5);
    unsigned number = id ? (unsigned)atoi(id + 5) : 0;
    if (!number || number > pings_sent)
        return;
    histogram_add(&counts.latency, now - ping_due_ns[number]);
    if (++counts.pings == options.pings)
        reach();
}

static void take_other(struct connection *connection, const struct frame *frame, uint64_t now)
{
    counts.others++;
    if (connection->phase == OPEN && options.ready &&
        memmem(frame->payload, frame->length, options.ready, strlen(options.ready)))
        become_ready(connection);
    else if (options.pings && memmem(frame->payload, frame->length, "\"type\":\"pong\"", 13))
        take_pong(frame->payload, frame->length, now);
    else if (memmem(frame->payload, frame->length, "\"error\"", 7) && counts.faults++ < 3)
        fprintf(stderr, "error: %.*s\n", (int)frame->length, frame->payload);
}

static void take_message(struct connection *connection, const struct frame *frame, uint64_t now)
{
    struct stamp stamp;
    if (record_read(frame->payload, frame->length, &connection->hint, &stamp))
        take_record(connection, stamp, now);
    else
        take_other(connection, frame, now);
}

/* Centrifugo's JSON: a frame holds a message a line, and an empty one is a ping that wants the same back. */
static void take_lines(struct connection *connection, const struct frame *frame, uint64_t now)
{
    const char *at = frame->payload, *end = at + frame->length;
    if (frame->length == 2 && memcmp(at, "{}", 2) == 0)
        send_frame(connection, OPCODE_TEXT, "{}", 2);
    for (const char *stop; at < end; at = stop + 1) {
        stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop)
            stop = end;
        take_message(connection, &(struct frame){frame->opcode, at, (size_t)(stop - at)}, now);
    }
}

/* Returns -1 when the connection is over. */
static int take_frame(struct connection *connection, const struct frame *frame, uint64_t now)
{
    counts.frames++;
    if (frame->opcode == OPCODE_TEXT || frame->opcode == OPCODE_BINARY) {
        (options.lines ? take_lines : take_message)(connection, frame, now);
    } else if (frame->opcode == OPCODE_PING) {
        send_frame(connection, OPCODE_PONG, frame->payload, frame->length);
    } else if (frame->opcode == OPCODE_CLOSE) {
        const unsigned char *code = (const unsigned char *)frame->payload;
        count_close(frame->length < 2 ? 1005 : (unsigned)code[0] << 8 | code[1]);
        send_frame(connection, OPCODE_CLOSE, frame->payload, frame->length < 2 ? 0 : 2);
        return -1;
    }
    return 0;
}

/* Takes every complete frame of `size` bytes; returns the bytes taken, -1 when the connection is over. */
static ptrdiff_t take_frames(struct connection *connection, const char *data, size_t size, uint64_t now)
{
    struct frame frame;
    ptrdiff_t taken;
    size_t at = 0;
    for (; (taken = read_frame(data + at, size - at, &frame)) > 0; at += (size_t)taken)
        if (take_frame(connection, &frame, now) < 0)
            return -1;
    if (taken < 0) {
        counts.faults++;
        return -1;
    }
    return (ptrdiff_t)at;
}

/* Keeps what is left of the buffer until more of it comes. */
static int keep_rest(struct connection *connection, const char *rest, size_t length)
{
    if (length > LONGEST_BYTES) {
        counts.faults++;
        return -1;
    }
    if (length > connection->rest_length || !length) {
        free(connection->rest);
        connection->rest = length ? allocate(length, 1) : NULL;
    }
    if (length)
        memcpy(connection->rest, rest, length);
    connection->rest_length = length;
    return 0;
}

static void read_connection(struct connection *connection)
{
    size_t kept = connection->rest_length;
    if (kept)
        memcpy(buffer, connection->rest, kept);
    ssize_t got = recv(connection->fd, buffer + kept, READ_BYTES, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        count_close(1006);
        close_connection(connection);
        return;
    }
    uint64_t now = clock_ns(CLOCK_REALTIME);
    size_t size = kept + (size_t)got;
    count_bytes((size_t)got, now);
    ptrdiff_t taken = 0;
    if (connection->phase == HANDSHAKE)
        taken = read_answer(connection, buffer, size);
    if (taken >= 0 && connection->phase >= OPEN) {
        ptrdiff_t more = take_frames(connection, buffer + taken, size - (size_t)taken, now);
        taken = more < 0 ? -1 : taken + more;
    }
    if (taken < 0 || keep_rest(connection, buffer + taken, size - (size_t)taken) < 0)
        close_connection(connection);
}

/* --- pings -------------------------------------------------------------------------------------------------------- */

static void start_pings(int timer_fd)
{
    uint64_t every = (uint64_t)(options.ping_every * 1e9);
    struct itimerspec spec = {.it_interval = {(time_t)(every / NANOSECONDS), (long)(every % NANOSECONDS)}};
    spec.it_value = spec.it_interval;
    ping_started_ns = clock_ns(CLOCK_REALTIME);
    timerfd_settime(timer_fd, 0, &spec, NULL);
}

/* Sends the pings that are due; their time is the schedule's, so that a stall of ours is not forgiven either. */
static void send_pings(int timer_fd)
{
    uint64_t due = 0;
    char command[64];
    if (read(timer_fd, &due, sizeof due) != sizeof due)
        return;
    for (; due && pings_sent < options.pings; due--) {
        pings_sent++;
        ping_due_ns[pings_sent] = ping_started_ns + (uint64_t)(pings_sent * options.ping_every * 1e9);
        int length = snprintf(command, sizeof command, "{\"type\":\"ping\",\"id\":%u}", pings_sent);
        send_frame(&all[pings_sent % options.connections], OPCODE_TEXT, command, (size_t)length);
    }
}

/* --- the process -------------------------------------------------------------------------------------------------- */

static void obey(char *line, int timer_fd)
{
    if (strncmp(line, "expect ", 7) == 0)
        expect(strtoull(line + 7, NULL, 10));
    else if (strcmp(line, "reset") == 0)
        reset();
    else if (strcmp(line, "report") == 0)
        report(0);
    else if (strcmp(line, "pings") == 0)
        start_pings(timer_fd), set_deadline(options.timeout);
    else if (strcmp(line, "quit") == 0)
        exit(0);
    else
        fail("unknown command: %s", line);
}

static void read_input(int timer_fd)
{
    static char input[1024];
    static size_t used;
    ssize_t got = read(0, input + used, sizeof input - 1 - used);
    if (got <= 0) {
        input_ended = 1;
        epoll_ctl(epoll_fd, EPOLL_CTL_DEL, 0, NULL);
        return;
    }
    used += (size_t)got;
    input[used] = 0;
    char *line = input;
    for (char *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        obey(line, timer_fd);
    }
    used = strlen(line);
    memmove(input, line, used + 1);
}

/* What the deadline means: settled, or too late. */
static void pass_deadline(void)
{
    deadline_ns = 0;
    report(!settling);
    settling = 0;
    expected = 0;
    if (options.once)
        exit(0);
}

static int wait_ms(void)
{
    if (!deadline_ns)
        return -1;
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    return now >= deadline_ns ? 0 : (int)((deadline_ns - now + 999999) / 1000000);
}

static void run(int timer_fd)
{
    struct epoll_event events[512];
    while (!input_ended || deadline_ns) {
        open_more();
        int count = epoll_wait(epoll_fd, events, 512, wait_ms());
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (events[i].data.ptr == &input_ended)
                read_input(timer_fd);
            else if (events[i].data.ptr == &pings_sent)
                send_pings(timer_fd);
            else if (connection->phase == CONNECTING)
                send_request(connection);
            else
                read_connection(connection);
        }
        if (deadline_ns && clock_ns(CLOCK_MONOTONIC) >= deadline_ns)
            pass_deadline();
    }
}

static void parse_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"connect", required_argument, NULL, 'c'}, {"connections", required_argument, NULL, 'n'},
        {"path", required_argument, NULL, 'p'}, {"subprotocol", required_argument, NULL, 's'},
        {"command", required_argument, NULL, 'C'}, {"ready", required_argument, NULL, 'r'},
        {"expect", required_argument, NULL, 'e'}, {"timeout", required_argument, NULL, 't'},
        {"settle", required_argument, NULL, 'S'}, {"ramp", required_argument, NULL, 'R'},
        {"ping-every", required_argument, NULL, 'P'}, {"pings", required_argument, NULL, 'N'},
        {"resume", no_argument, NULL, 'U'}, {"lines", no_argument, NULL, 'L'}, {NULL, 0, NULL, 0}};
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;)
        switch (option) {
        case 'c': options.host = optarg; options.server = parse_address(optarg); break;
        case 'n': options.connections = (unsigned)atoi(optarg); break;
        case 'p': options.path = optarg; break;
        case 's': options.protocol = optarg; break;
        case 'C': options.command = optarg; break;
        case 'r': options.ready = optarg; break;
        case 'e': options.expect = strtoull(optarg, NULL, 10); break;
        case 't': options.timeout = atof(optarg); break;
        case 'S': options.settle = atof(optarg); break;
        case 'R': options.ramp = (unsigned)atoi(optarg); break;
        case 'P': options.ping_every = atof(optarg); break;
        case 'N': options.pings = (unsigned)atoi(optarg); break;
        case 'U': options.resume = 1; break;
        case 'L': options.lines = 1; break;
        default: exit(2);
        }
    if (!options.host || !options.connections || options.pings >= MAX_PINGS)
        fail("usage: sink --connect HOST:PORT [--connections N] [--path P] [--subprotocol P] [--command TEXT] "
             "[--ready TEXT] [--expect N] [--timeout SECONDS] [--settle SECONDS] [--ramp N] "
             "[--pings N --ping-every SECONDS] [--resume] [--lines]");
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    raise_descriptor_limit();
    buffer = allocate(LONGEST_BYTES + READ_BYTES, 1);
    all = allocate(options.connections, sizeof *all);
    for (unsigned i = 0; options.resume && i < options.connections; i++)
        all[i].next = all[i].records = i;
    epoll_fd = epoll_create1(0);
    int timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event input = {.events = EPOLLIN, .data.ptr = &input_ended};
    struct epoll_event timer = {.events = EPOLLIN, .data.ptr = &pings_sent};
    input_ended = epoll_ctl(epoll_fd, EPOLL_CTL_ADD, 0, &input) != 0; /* a file or /dev/null has nothing to say */
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &timer);
    reset_counts();
    if (options.expect) {
        options.once = 1;
        expect(options.expect);
    }
    run(timer_fd);
    return 0;
}
