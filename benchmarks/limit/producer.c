/* Writes benchmark records (record.h) to a topic: at a fixed rate, or as fast as it goes (--rate 0).
 *
 * Every record carries its intended send time: at a rate that is its place in the schedule, so that a late producer
 * shows as latency and is not forgiven (coordinated omission). Keys go round robin, "k000000" upwards; the sequence
 * number counts all records, or with --per-key those of the key. All go to one partition, so that the order of the
 * whole topic can be checked. With --channels-header NAME every record has a header of that name, which holds its key, or
 * without keys the topic (how Centrifugo is told where a record goes). Prints one JSON line when the broker acknowledged all.
 */
#define _GNU_SOURCE
#include "process.h"
#include "rdkafka_min.h"
#include "record.h"
#include <getopt.h>

#define MAX_RECORD_BYTES (1 << 20)
#define SINGLE_RATE 500

static struct {
    const char *kafka, *topic, *channels_header;
    uint64_t records, first;
    double rate;
    size_t bytes;
    unsigned keys;
    int per_key, partition;
} options = {.records = 1000, .bytes = 200};
static uint64_t acknowledged, refused;

static void on_delivery(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque)
{
    (void)client, (void)opaque;
    if (message->err)
        refused++;
    else
        acknowledged++;
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char error[256];
    if (rd_kafka_conf_set(conf, name, value, error, sizeof error) != RD_KAFKA_CONF_OK)
        fail("%s", error);
}

static rd_kafka_t *open_kafka(void)
{
    char error[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", options.kafka);
    /* At a low rate a record must not wait for others; at a high one a broker on the same two cores would drown in
     * requests of one record (5,000/s without linger: 0.7 ms each, the schedule cannot be kept). */
    set(conf, "linger.ms", options.rate > 0 && options.rate <= SINGLE_RATE ? "0" : "5");
    set(conf, "message.send.max.retries", "0"); /* a retry could look like a repeat or a reordering */
    set(conf, "queue.buffering.max.messages", "1000000");
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof error);
    if (!client)
        fail("%s", error);
    return client;
}

/* Waits for the record's place in the schedule, serving acknowledgements; returns its intended send time. */
static uint64_t wait_for_turn(rd_kafka_t *client, uint64_t start, uint64_t index)
{
    rd_kafka_poll(client, 0);
    if (options.rate <= 0)
        return clock_ns(CLOCK_REALTIME);
    uint64_t due = start + (uint64_t)((double)index * 1e9 / options.rate);
    struct timespec until = {.tv_sec = (time_t)(due / NANOSECONDS), .tv_nsec = (long)(due % NANOSECONDS)};
    clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL);
    return due;
}

static int enqueue(rd_kafka_t *client, rd_kafka_topic_t *topic, char *value, char *key, size_t key_length)
{
    if (!options.channels_header)
        return rd_kafka_produce(topic, options.partition, RD_KAFKA_MSG_F_COPY, value, options.bytes,
                                key_length ? key : NULL, key_length, NULL);
    const char *channel = key_length ? key : options.topic;
    return rd_kafka_producev(client, RD_KAFKA_VTYPE_RKT, topic, RD_KAFKA_VTYPE_PARTITION, options.partition,
                             RD_KAFKA_VTYPE_MSGFLAGS, RD_KAFKA_MSG_F_COPY, RD_KAFKA_VTYPE_VALUE, value, options.bytes,
                             RD_KAFKA_VTYPE_KEY, key_length ? key : NULL, key_length, RD_KAFKA_VTYPE_HEADER,
                             options.channels_header, channel, (ssize_t)strlen(channel), RD_KAFKA_VTYPE_END);
}

static void produce(rd_kafka_t *client, rd_kafka_topic_t *topic, uint64_t index, uint64_t due)
{
    static char value[MAX_RECORD_BYTES], key[32];
    uint64_t number = options.first + index, sequence = options.per_key ? number / options.keys : number;
    record_write(value, options.bytes, (struct stamp){due, sequence});
    size_t key_length = 0;
    if (options.keys)
        key_length = (size_t)sprintf(key, "k%06llu", (unsigned long long)(number % options.keys));
    while (enqueue(client, topic, value, key, key_length))
        rd_kafka_poll(client, 10); /* the queue is full */
}

static void parse_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"kafka", required_argument, NULL, 'k'}, {"topic", required_argument, NULL, 't'},
        {"records", required_argument, NULL, 'n'}, {"first", required_argument, NULL, 'f'},
        {"rate", required_argument, NULL, 'r'}, {"bytes", required_argument, NULL, 'b'},
        {"keys", required_argument, NULL, 'K'}, {"partition", required_argument, NULL, 'p'},
        {"channels-header", required_argument, NULL, 'H'},
        {"per-key", no_argument, NULL, 'P'}, {NULL, 0, NULL, 0}};
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;)
        switch (option) {
        case 'k': options.kafka = optarg; break;
        case 't': options.topic = optarg; break;
        case 'n': options.records = strtoull(optarg, NULL, 10); break;
        case 'f': options.first = strtoull(optarg, NULL, 10); break;
        case 'r': options.rate = atof(optarg); break;
        case 'b': options.bytes = strtoull(optarg, NULL, 10); break;
        case 'K': options.keys = (unsigned)atoi(optarg); break;
        case 'p': options.partition = atoi(optarg); break;
        case 'P': options.per_key = 1; break;
        case 'H': options.channels_header = optarg; break;
        default: exit(2);
        }
    if (!options.kafka || !options.topic || options.bytes < RECORD_LEAST_BYTES || options.bytes > MAX_RECORD_BYTES ||
        (options.per_key && !options.keys))
        fail("usage: producer --kafka HOST:PORT --topic T [--records N] [--first N] [--rate PER_SECOND] [--bytes N] "
             "[--keys N [--per-key]] [--partition P] [--channels-header NAME]");
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    rd_kafka_t *client = open_kafka();
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client, options.topic, NULL);
    int64_t low, high; /* connects and fetches metadata, so that the first record is not late by that */
    int failed = rd_kafka_query_watermark_offsets(client, options.topic, 0, &low, &high, 10000);
    if (failed)
        fail("%s: %s", options.topic, rd_kafka_err2str(failed));
    uint64_t start = clock_ns(CLOCK_REALTIME) + 20000000;
    for (uint64_t index = 0; index < options.records; index++)
        produce(client, topic, index, wait_for_turn(client, start, index));
    rd_kafka_flush(client, 60000);
    printf("{\"event\":\"produced\",\"acknowledged\":%llu,\"refused\":%llu,\"seconds\":%.6f}\n",
           (unsigned long long)acknowledged, (unsigned long long)refused,
           (double)(int64_t)(clock_ns(CLOCK_REALTIME) - start) / 1e9);
    return acknowledged == options.records ? 0 : 1;
}
