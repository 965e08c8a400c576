/* The limit: the least that a Kafka to WebSocket gateway can do, against which every ratio is taken.
 *
 * One thread: librdkafka's consumer (assign of one topic, from the end), an HTTP Upgrade handshake, and for every
 * consumed batch (up to --batch records, only what is already there) one coalesced non-blocking send() to each
 * connection. Values are framed as text once, --envelope wraps them as records of /ws. With --keyed a connection asks
 * for one key (`key=` in its request) and a hash finds the connections of a record. What the kernel does not take is
 * kept for the connection and goes on when epoll says it is writable.
 *
 * With --replay it reads the topic from its beginning, once, keeps all of it, and sends it to every connection.
 *
 * Left out, on purpose: limits, keep-alive, checks of the values, commands, everything about failure.
 */
#define _GNU_SOURCE
#include "clients.h"
#include "framing.h"
#include <getopt.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#define MAX_BATCH 10000

static struct {
    const char *kafka, *topic;
    struct sockaddr_in listen;
    int partitions, batch, keyed, envelope, lowat, replay;
} options = {.partitions = 1, .batch = 500};
static struct {
    unsigned long long records, batches, sends, partial;
} statistics;
static struct batch *oldest, *newest;
static int listen_fd, kafka_fd;
static volatile sig_atomic_t ending;

static void end(int signal)
{
    ending = signal;
}

/* --- a whole topic: every batch to every connection -------------------------------------------------------------- */

/* Frees batches from the old end on, up to the first that somebody still reads. */
static void forget_batches(void)
{
    while (oldest && !oldest->readers && !options.replay) {
        struct batch *next = oldest->next;
        free(oldest);
        oldest = next;
    }
    if (!oldest)
        newest = NULL;
}

/* Sends a connection that is behind what it can take. Returns -1 when the connection is gone. */
static int catch_up(struct connection *connection)
{
    while (connection->at) {
        struct batch *batch = connection->at;
        ssize_t sent = send(connection->fd, batch->bytes + connection->sent, batch->length - connection->sent,
                            MSG_NOSIGNAL);
        statistics.sends++;
        if (sent < 0)
            return errno == EAGAIN ? 0 : -1;
        connection->sent += (size_t)sent;
        if (connection->sent < batch->length)
            return 0;
        connection->at = batch->next;
        connection->sent = 0;
        batch->readers--;
        if (connection->at)
            connection->at->readers++;
    }
    return 0;
}

static void publish(struct batch *batch)
{
    *(newest ? &newest->next : &oldest) = batch;
    newest = batch;
    for (size_t i = 0; i < connection_count; i++) {
        struct connection *connection = connections[i];
        if (!connection->live || connection->at)
            continue; /* one that is behind reaches this batch in its turn */
        connection->begun = 1;
        ssize_t sent = send(connection->fd, batch->bytes, batch->length, MSG_NOSIGNAL);
        statistics.sends++;
        if (sent == (ssize_t)batch->length)
            continue;
        if (sent < 0 && errno != EAGAIN) {
            close_connection(connection);
            i--; /* another one has its place now */
            continue;
        }
        statistics.partial++;
        connection->at = batch;
        connection->sent = sent < 0 ? 0 : (size_t)sent;
        batch->readers++;
    }
    forget_batches();
}

/* --- keyed: each record to the connections of its key ------------------------------------------------------------ */

static void keep_rest(struct connection *connection, const char *bytes, size_t length)
{
    if (connection->rest_length + length > connection->rest_size) {
        connection->rest_size = 2 * (connection->rest_length + length);
        connection->rest = resize(connection->rest, connection->rest_size);
    }
    memcpy(connection->rest + connection->rest_length, bytes, length);
    connection->rest_length += length;
}

/* One writev() of the pieces; what the kernel does not take is copied. A connection that is gone is found by epoll. */
static void send_pieces(struct connection *connection)
{
    ssize_t sent = 0;
    if (!connection->rest_length) {
        sent = writev(connection->fd, connection->pieces, connection->piece_count);
        statistics.sends++;
    }
    size_t skip = sent < 0 ? 0 : (size_t)sent;
    for (int i = 0; i < connection->piece_count; i++) {
        struct iovec *piece = &connection->pieces[i];
        size_t taken = skip < piece->iov_len ? skip : piece->iov_len;
        skip -= taken;
        if (taken < piece->iov_len)
            keep_rest(connection, (char *)piece->iov_base + taken, piece->iov_len - taken);
    }
    statistics.partial += connection->rest_length > 0;
    connection->piece_count = 0;
}

static int send_rest(struct connection *connection)
{
    while (connection->rest_length) {
        ssize_t sent = send(connection->fd, connection->rest, connection->rest_length, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN ? 0 : -1;
        connection->rest_length -= (size_t)sent;
        memmove(connection->rest, connection->rest + sent, connection->rest_length);
    }
    return 0;
}

/* Adds a framed record to the connections of its key; those touched for the first time in this batch are listed. */
static void address(const rd_kafka_message_t *record, char *bytes, size_t length)
{
    struct connection *connection = buckets[bucket_of(record->key, record->key_len)];
    for (; connection; connection = connection->next_of_bucket) {
        if (strlen(connection->key) != record->key_len || memcmp(connection->key, record->key, record->key_len) != 0)
            continue;
        if (connection->piece_count == PIECES)
            send_pieces(connection);
        else if (!connection->piece_count)
            touched[touched_count++] = connection;
        connection->pieces[connection->piece_count++] = (struct iovec){bytes, length};
    }
}

/* --- records ------------------------------------------------------------------------------------------------------ */

static void publish_batch(rd_kafka_message_t **records, size_t count)
{
    size_t size = sizeof(struct batch);
    for (size_t i = 0; i < count; i++)
        size += records[i]->len + ENVELOPE_BYTES;
    struct batch *batch = resize(NULL, size);
    char *at = batch->bytes;
    for (size_t i = 0; i < count; i++) {
        char *begin = at;
        if (!records[i]->err) {
            at = write_record(at, records[i], options.envelope ? options.topic : NULL);
            if (options.keyed)
                address(records[i], begin, (size_t)(at - begin));
            statistics.records++;
        }
        rd_kafka_message_destroy(records[i]);
    }
    batch->next = NULL;
    batch->readers = 0;
    batch->length = (size_t)(at - batch->bytes);
    statistics.batches++;
    if (!options.keyed) {
        publish(batch);
        return;
    }
    for (size_t i = 0; i < touched_count; i++)
        if (touched[i]->piece_count)
            send_pieces(touched[i]);
    touched_count = 0;
    free(batch);
}

/* Publishes one batch of what is already there; returns whether there may be more. */
static int consume(rd_kafka_queue_t *queue)
{
    static rd_kafka_message_t *records[MAX_BATCH];
    ssize_t count = rd_kafka_consume_batch_queue(queue, 0, records, (size_t)options.batch);
    if (count > 0)
        publish_batch(records, (size_t)count);
    return count == options.batch;
}

/* --- the process -------------------------------------------------------------------------------------------------- */

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char error[256];
    if (rd_kafka_conf_set(conf, name, value, error, sizeof error) != RD_KAFKA_CONF_OK)
        fail("%s", error);
}

/* A consumer assigned to every partition at its end as of now: the offsets are asked for first, so that whoever sees
 * the ready line can produce and lose nothing. */
static rd_kafka_queue_t *open_kafka(void)
{
    char error[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", options.kafka);
    set(conf, "group.id", "limit");
    set(conf, "enable.auto.commit", "false");
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof error);
    if (!client)
        fail("%s", error);
    rd_kafka_poll_set_consumer(client);
    rd_kafka_topic_partition_list_t *partitions = rd_kafka_topic_partition_list_new(options.partitions);
    for (int partition = 0; partition < options.partitions; partition++) {
        int64_t low, high;
        int failed = rd_kafka_query_watermark_offsets(client, options.topic, partition, &low, &high, 10000);
        if (failed)
            fail("%s [%d]: %s", options.topic, partition, rd_kafka_err2str(failed));
        rd_kafka_topic_partition_list_add(partitions, options.topic, partition)->offset =
            options.replay ? low : high;
    }
    rd_kafka_assign(client, partitions);
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(client);
    uint64_t one = 1;
    rd_kafka_queue_io_event_enable(queue, kafka_fd, &one, sizeof one);
    return queue;
}

static void serve_connection(const struct epoll_event *event)
{
    struct connection *connection = event->data.ptr;
    int gone = event->events & (EPOLLERR | EPOLLHUP) || (event->events & EPOLLIN && read_client(connection, options.keyed) < 0);
    if (!gone && options.replay && connection->live && !connection->begun && oldest) {
        connection->begun = 1;
        connection->at = oldest;
        oldest->readers++;
        gone = catch_up(connection) < 0;
    }
    if (!gone && event->events & EPOLLOUT)
        gone = catch_up(connection) < 0 || send_rest(connection) < 0;
    if (gone)
        close_connection(connection);
}

static void run(rd_kafka_queue_t *queue)
{
    struct epoll_event events[256];
    uint64_t wakeups;
    int more = 1;
    while (!ending) {
        int count = epoll_wait(epoll_fd, events, 256, more ? 0 : -1);
        for (int i = 0; i < count; i++)
            if (events[i].data.ptr == &listen_fd)
                accept_connections(listen_fd, options.lowat);
            else if (events[i].data.ptr == &kafka_fd)
                more = read(kafka_fd, &wakeups, sizeof wakeups) > 0 || more;
            else
                serve_connection(&events[i]);
        if (more)
            more = consume(queue);
        forget_batches();
    }
}

static void watch(int fd, void *tag)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = tag};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void parse_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"kafka", required_argument, NULL, 'k'},  {"topic", required_argument, NULL, 't'},
        {"listen", required_argument, NULL, 'l'}, {"partitions", required_argument, NULL, 'p'},
        {"batch", required_argument, NULL, 'b'},  {"notsent-lowat", required_argument, NULL, 'n'},
        {"keyed", no_argument, NULL, 'K'},        {"envelope", no_argument, NULL, 'E'},
        {"replay", no_argument, NULL, 'R'},
        {NULL, 0, NULL, 0}};
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;)
        switch (option) {
        case 'k': options.kafka = optarg; break;
        case 't': options.topic = optarg; break;
        case 'l': options.listen = parse_address(optarg); break;
        case 'p': options.partitions = atoi(optarg); break;
        case 'b': options.batch = atoi(optarg); break;
        case 'n': options.lowat = atoi(optarg); break;
        case 'K': options.keyed = 1; break;
        case 'E': options.envelope = 1; break;
        case 'R': options.replay = 1; break;
        default: exit(2);
        }
    if (!options.kafka || !options.topic || !options.listen.sin_family || options.batch > MAX_BATCH)
        fail("usage: gateway --kafka HOST:PORT --topic T --listen HOST:PORT [--partitions N] [--batch N] [--keyed] "
             "[--envelope] [--replay] [--notsent-lowat BYTES]");
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    raise_descriptor_limit();
    struct sigaction action = {.sa_handler = end};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    epoll_fd = epoll_create1(0);
    kafka_fd = eventfd(0, EFD_NONBLOCK);
    listen_fd = listen_at(&options.listen, SOCK_NONBLOCK);
    rd_kafka_queue_t *queue = open_kafka();
    watch(listen_fd, &listen_fd);
    watch(kafka_fd, &kafka_fd);
    printf("{\"event\":\"ready\",\"port\":%u,\"librdkafka\":\"%s\"}\n", ntohs(options.listen.sin_port),
           rd_kafka_version_str());
    fflush(stdout);
    run(queue);
    printf("{\"event\":\"ended\",\"records\":%llu,\"batches\":%llu,\"sends\":%llu,\"partial\":%llu,"
           "\"handshakes\":%llu}\n",
           statistics.records, statistics.batches, statistics.sends, statistics.partial, handshakes);
    fflush(stdout);
    _exit(0); /* nothing here that librdkafka's orderly end would save */
}
