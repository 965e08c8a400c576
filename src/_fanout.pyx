# cython: language_level=3
"""The compiled core: the tail's blocks, the cursors on it, and the loops that send.

Only what runs once per (record, subscriber) or once per byte is here: no I/O decisions, no configuration, no logging, no clock.
A Tail keeps the newest records of one topic in one format, framed once and shared by all; a Subscription is a cursor on it; a Line is
what leaves for one connection. `Tail.append` marks which groups of subscribers are due, `Tail.pump` serves them in chunks, and
`Line.flush` brings on a connection that fell behind. Between any two of these calls anything may subscribe, leave, or be evicted:
a cursor's place, never its being in a list, decides what it gets.

Rules: everything runs in one thread (the event loop's); pointers into a block never outlive the call; the id slot is patched in the
shared block, so whatever is sent later takes a private copy. Longer than 400 lines because the send loops must be one translation unit.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, ENOBUFS, ENOMEM, errno
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove, memset

import os

cdef extern from "<sys/ioctl.h>" nogil:
    int c_ioctl "ioctl"(int fd, unsigned long request, int* out)

cdef extern from "<linux/sockios.h>" nogil:
    const unsigned long SIOCOUTQ

cdef extern from "<sys/socket.h>" nogil:
    ssize_t c_send "send"(int fd, const void* data, size_t size, int flags)
    const int MSG_DONTWAIT
    const int MSG_NOSIGNAL

JSON, MSGPACK, VALUE = 0, 1, 2  # formats of a tail: which id slot its frames have (section 3 of the protocol)
LIVE, BEHIND, FALLEN, HOLED, CLOSED, READING, ARRIVED, RESTING = range(8)  # states of a subscription
DONE, MORE, BLOCKED, BROKEN = 0, 1, 2, 3  # what Line.flush found

cdef enum:
    F_JSON = 0
    F_MSGPACK = 1
    F_VALUE = 2
    S_LIVE = 0
    S_BEHIND = 1
    S_FALLEN = 2
    S_HOLED = 3
    S_CLOSED = 4
    S_READING = 5    # a stretch that was read back
    S_ARRIVED = 6    # at its goal: the owner has something to say before it goes on
    S_RESTING = 7    # between two rounds of a conflated subscription
    R_DONE = 0
    R_MORE = 1
    R_BLOCKED = 2
    R_BROKEN = 3
    G_WHOLE = 0      # a group that wants every record
    G_KEY = 1        # one key
    G_SEVERAL = 2    # all subscriptions with more than one key; each walks the index itself
    TURN = 65536     # bytes after which the next subscription of a connection has its turn
    GATHER = 262144  # bytes of one key gathered for one send
    ROUND_KEYS = 16384      # distinct keys of one round: its table stays in the cache, 0.3 us a record when it does not
    ROUND_RECORDS = 262144  # looked at for one round: about 5 ms
    TEXT_OPCODE = 1  # RFC 6455, 5.2
    BINARY_OPCODE = 2
    LOOK_COST = 16   # looking at a record for a round costs about as much as copying this many bytes
    SEND_COST = 4096 # a send() of any size costs about as much as copying this many bytes (5 us at 1 GB/s, loopback)

include "json_text.pxi"

cdef size_t LARGEST = 1 << 31  # bytes of a payload or a block: ends of frames are kept in 32 bits


# ---------------------------------------------------------------------------------------------------------------- links and growth

cdef struct Link:
    Link* before
    Link* after
    void* item


cdef inline void link_init(Link* link, void* item) noexcept nogil:
    link.before = link
    link.after = link
    link.item = item


cdef inline bint linked(Link* link) noexcept nogil:
    return link.after != link


cdef inline void link_remove(Link* link) noexcept nogil:
    link.before.after = link.after
    link.after.before = link.before
    link.before = link
    link.after = link


cdef inline void link_free(Link* link) noexcept nogil:
    """Of something that is freed, a ring's head too: the collector frees a tail, its subscriptions and their lines in any order."""
    if link.after != NULL:  # else its constructor did not get that far
        link_remove(link)


cdef inline void link_append(Link* ring, Link* link) noexcept nogil:
    link.before = ring.before
    link.after = ring
    ring.before.after = link
    ring.before = link


cdef bint grow(void** memory, size_t* room, size_t wanted, size_t item) noexcept nogil:
    """Make room for `wanted` items, doubling; False when memory is out (nothing has changed then)."""
    cdef size_t size = room[0] if room[0] else 8
    cdef void* moved
    if wanted <= room[0]:
        return True
    while size < wanted:
        size *= 2
    moved = realloc(memory[0], size * item)
    if moved == NULL:
        return False
    memory[0] = moved
    room[0] = size
    return True


# ------------------------------------------------------------------------------------------------------------------- key hashes
# A key's place in the index is its SipHash-1-3 under a secret of this process (https://www.aumasson.jp/siphash/siphash.pdf). Rules
# about who may see which key rest on it, so it must not be possible to make two keys meet: 63 secret bits leave that to chance only.

cdef uint64_t sip_k0, sip_k1
cdef uint64_t NO_KEY = 0


cdef inline uint64_t rotl(uint64_t x, int b) noexcept nogil:
    return (x << b) | (x >> (64 - b))


cdef inline void sip_round(uint64_t* v) noexcept nogil:
    v[0] += v[1]; v[1] = rotl(v[1], 13); v[1] ^= v[0]; v[0] = rotl(v[0], 32)
    v[2] += v[3]; v[3] = rotl(v[3], 16); v[3] ^= v[2]
    v[0] += v[3]; v[3] = rotl(v[3], 21); v[3] ^= v[0]
    v[2] += v[1]; v[1] = rotl(v[1], 17); v[1] ^= v[2]; v[2] = rotl(v[2], 32)


cdef uint64_t siphash(const uint8_t* data, size_t size) noexcept nogil:
    cdef uint64_t[4] v
    cdef uint64_t word = 0
    cdef size_t at = 0, left
    v[0] = sip_k0 ^ 0x736f6d6570736575ULL
    v[1] = sip_k1 ^ 0x646f72616e646f6dULL
    v[2] = sip_k0 ^ 0x6c7967656e657261ULL
    v[3] = sip_k1 ^ 0x7465646279746573ULL
    while at + 8 <= size:
        memcpy(&word, data + at, 8)
        v[3] ^= word
        sip_round(v)
        v[0] ^= word
        at += 8
    word = 0
    left = size - at
    if left:
        memcpy(&word, data + at, left)
    word |= (<uint64_t>(size & 0xff)) << 56
    v[3] ^= word
    sip_round(v)
    v[0] ^= word
    v[2] ^= 0xff
    sip_round(v)
    sip_round(v)
    sip_round(v)
    return (v[0] ^ v[1] ^ v[2] ^ v[3]) | 1  # never NO_KEY


cdef uint64_t key_hash(object key) except? 0:
    if key is None:
        return NO_KEY
    if type(key) is not bytes:
        raise TypeError(f"a key is bytes or None, not {type(key).__name__}")
    return siphash(<const uint8_t*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))


cdef void seed_keys() except *:
    cdef bytes secret = os.urandom(16)
    cdef char* raw = PyBytes_AS_STRING(secret)
    global sip_k0, sip_k1
    memcpy(&sip_k0, raw, 8)
    memcpy(&sip_k1, raw + 8, 8)


# ------------------------------------------------------------------------------------------------------------------------ structs

cdef struct Block:
    char* data               # frames, one behind the other
    size_t used
    size_t room
    uint32_t* end            # of each frame in data; an entry without a frame (end = the one before) is a hole
    int32_t* partition
    int64_t* offset
    uint64_t* key
    size_t count
    size_t entries           # room of the four arrays
    int64_t first            # sequence number in the tail of entry 0
    int64_t* vector          # next offset of each partition at the block's start
    int32_t width            # partitions in vector
    char[5] slot             # the id that the entries patched_from..patched_to carry now
    size_t patched_from
    size_t patched_to


cdef struct Wire:
    int fd
    bint direct              # False: bytes are taken by a writer (TLS), never sent from here
    bint woken               # a writer task is there, or has been asked for
    bint refused             # the kernel took less than it was offered
    int error                # errno of the failure that ended it
    char* rest               # committed bytes the kernel has not taken: what is left of a frame, then control frames
    size_t rest_at
    size_t rest_end
    size_t rest_room
    uint64_t sent_bytes
    int dropped              # cursors that were dropped and not yet told of
    Link behind              # ring of its cursors that are behind
    Link cursors             # ring of all its cursors
    void* owner              # the Line; borrowed


cdef struct Tail_
cdef struct Group_
cdef struct Stretch_

cdef struct Cursor:
    Wire* wire
    Tail_* tail
    Group_* group
    int state
    bint told                # the owner knows that it was dropped
    int64_t seq              # next record in the tail; while live and its group is not due, the end is meant (see place)
    int64_t* floor           # offsets below these are not wanted (already had); NULL once the place has passed them
    int32_t floors
    int64_t* goal            # offsets to be passed before the owner is told; 0 = passed
    int32_t goals
    int32_t goals_left
    bint conflated           # it wants the newest record of each key
    bint rests               # and a rest after each round
    int64_t rested           # `delivered` when it last rested: more since then is a round
    Stretch_* stretch        # while S_READING
    int64_t upto             # offset at which it leaves the stretch
    int32_t hole             # partition of the hole it met in a stretch; -1: in the tail
    uint64_t* keys           # sorted; NULL = every record
    size_t keys_count
    char[5] slot
    uint64_t delivered       # records
    size_t at                # in its lane
    Link in_tail             # rings of those that are behind: the tail's (those that met a hole too),
    Link in_wire             # the connection's;
    Link in_line             # and of all of the connection
    Link in_stretch          # ring of those that read a stretch
    void* owner              # the Subscription; borrowed


cdef struct Lane:            # subscribers of one group that use the same id
    Cursor** cursors         # NULL where one has left during a pass
    size_t count
    size_t room
    size_t gaps
    size_t start             # who is served first; moves with every pass
    size_t pass_count
    char[5] slot


cdef struct Group_:          # subscribers that want the same records
    int kind
    Lane* lanes
    size_t lanes_count
    size_t lanes_room
    int64_t first            # everything before has been offered to all that are live; meaningful while due
    int64_t* pending         # G_KEY: sequence numbers of its records not yet offered to all
    size_t pending_count
    size_t pending_room
    bint passing
    int64_t pass_end
    size_t pass_lanes
    size_t lane_at
    size_t cursor_at
    Link due


cdef struct Tail_:
    int format
    int slot_at              # of the id, in the payload
    int slot_size
    Block** blocks
    size_t blocks_at         # of the oldest
    size_t blocks_end
    size_t blocks_room
    size_t block_bytes
    int64_t end              # sequence number of the next record
    int64_t last_hole        # -1 = none
    int64_t* vector          # next offset of each partition, at the end
    int64_t* base            # the same at the beginning, or when the partition was added
    int32_t width
    size_t memory            # bytes allocated for blocks and their index
    uint64_t delivered       # (record, subscriber) pairs handed to a connection
    uint64_t sent_bytes
    size_t[8] states         # how many of its subscriptions are in which state
    Link due                 # ring of groups
    Link behind              # ring of cursors
    Link arriving            # ring of live cursors whose goal is still ahead
    Wire** wakes
    size_t wakes_count
    size_t wakes_room


cdef struct Stretch_:         # records of one partition, read back from Kafka
    Block* block
    int32_t partition
    int64_t next             # every record below this offset that the log has is in it
    size_t holes
    Link readers


cdef struct Scratch:         # gathered frames; filled and sent within one call
    char* data
    size_t used
    size_t room
    uint32_t* end
    int64_t* seq
    size_t count
    size_t entries


cdef struct Stop:            # why a walk ended before its limit
    bint hole
    int32_t passed           # the partition whose goal is passed there, or -1


cdef struct Newest:          # of each key in a round, by open addressing; NO_KEY marks a free place
    uint64_t* key
    int64_t* seq
    size_t room
    size_t mask
    size_t keys
    int64_t start            # the round is about start..stop
    int64_t stop


cdef Scratch scratch
cdef Newest newest
cdef uint64_t all_sent_bytes = 0  # of all wires since the beginning


# ------------------------------------------------------------------------------------------------------------------------- blocks

cdef void block_free(Block* block) noexcept nogil:
    free(block.data)
    free(block.end)
    free(block.partition)
    free(block.offset)
    free(block.key)
    free(block.vector)
    free(block)


cdef inline size_t block_memory(Block* block) noexcept nogil:
    return sizeof(Block) + block.room + block.entries * 24 + block.width * 8


cdef inline size_t frame_begin(Block* block, size_t i) noexcept nogil:
    return block.end[i - 1] if i else 0


cdef Block* block_new(size_t room, int64_t first, const int64_t* vector, int32_t width) noexcept nogil:
    cdef Block* block = <Block*>malloc(sizeof(Block))
    if block == NULL:
        return NULL
    block.data = <char*>malloc(room)
    block.vector = <int64_t*>malloc(8 * (width if width else 1))
    block.end = NULL
    block.partition = NULL
    block.offset = NULL
    block.key = NULL
    block.used = block.count = block.entries = block.patched_from = block.patched_to = 0
    block.room = room
    block.first = first
    block.width = width
    if block.data == NULL or block.vector == NULL:
        block_free(block)
        return NULL
    if width:
        memcpy(block.vector, vector, 8 * width)
    return block


cdef bint block_entries(Block* block, size_t wanted) noexcept nogil:
    """Room for `wanted` index entries: four arrays grown as one."""
    cdef size_t before = block.entries, room
    if wanted <= before:
        return True
    room = before
    if not grow(<void**>&block.end, &room, wanted, 4):
        return False
    room = before
    if not grow(<void**>&block.partition, &room, wanted, 4):
        return False
    room = before
    if not grow(<void**>&block.offset, &room, wanted, 8):
        return False
    room = before
    if not grow(<void**>&block.key, &room, wanted, 8):
        return False
    block.entries = room
    return True


cdef bint block_reserve(Block* block, size_t frame) noexcept nogil:
    """Room for one more frame and its entry."""
    return grow(<void**>&block.data, &block.room, block.used + frame, 1) and block_entries(block, block.count + 1)


cdef void block_put(Block* block, int opcode, bytes payload, Py_ssize_t size, int32_t partition, int64_t offset, uint64_t key):
    """Frame a payload into reserved room; size -1: an entry without a frame."""
    if size >= 0:
        block.used += write_header(block.data + block.used, opcode, size)
        memcpy(block.data + block.used, PyBytes_AS_STRING(payload), size)
        block.used += size
    block_entry(block, partition, offset, key)


cdef inline void block_entry(Block* block, int32_t partition, int64_t offset, uint64_t key) noexcept nogil:
    """Index what has been written since the last entry."""
    block.end[block.count] = block.used
    block.partition[block.count] = partition
    block.offset[block.count] = offset
    block.key[block.count] = key
    block.count += 1


cdef inline size_t frame_size(Py_ssize_t payload) noexcept nogil:
    """With its header; 0 for an entry without a frame."""
    return 0 if payload < 0 else payload + (2 if payload < 126 else 4 if payload < 65536 else 10)


cdef size_t offset_index(Block* block, int64_t offset) noexcept nogil:
    """The first entry at or behind an offset, in a block of one partition."""
    cdef size_t low = 0, high = block.count, middle
    while low < high:
        middle = (low + high) // 2
        if block.offset[middle] < offset:
            low = middle + 1
        else:
            high = middle
    return low


cdef inline size_t header_size(size_t frame) noexcept nogil:
    """The header of a server frame of that size in all (RFC 6455, 5.2): 2, 4 or 10 bytes."""
    if frame <= 127:
        return 2
    return 4 if frame <= 65539 else 10


cdef size_t write_header(char* out, int opcode, size_t payload) noexcept nogil:
    cdef int i
    out[0] = <char>(0x80 | opcode)
    if payload < 126:
        out[1] = <char>payload
        return 2
    if payload < 65536:
        out[1] = 126
        out[2] = <char>(payload >> 8)
        out[3] = <char>(payload & 0xff)
        return 4
    out[1] = 127
    for i in range(8):
        out[2 + i] = <char>((<uint64_t>payload >> (56 - 8 * i)) & 0xff)
    return 10


cdef inline void slot_write(Tail_* tail, char* frame, size_t size, const char* slot) noexcept nogil:
    cdef char* at = frame + header_size(size) + tail.slot_at
    cdef int i
    for i in range(tail.slot_size):
        at[i] = slot[i]


cdef inline bint same_slot(const char* a, const char* b) noexcept nogil:
    return a[0] == b[0] and a[1] == b[1] and a[2] == b[2] and a[3] == b[3] and a[4] == b[4]


cdef void block_patch(Tail_* tail, Block* block, size_t start, size_t stop, const char* slot) noexcept nogil:
    """Make the frames start..stop carry this id. Free when they do already: most clients use the same small ids."""
    cdef size_t i, begin
    if tail.slot_size == 0:
        return
    if block.patched_from <= start and stop <= block.patched_to and same_slot(block.slot, slot):
        return
    begin = frame_begin(block, start)
    for i in range(start, stop):
        slot_write(tail, block.data + begin, block.end[i] - begin, slot)
        begin = block.end[i]
    memcpy(block.slot, slot, 5)
    block.patched_from = start
    block.patched_to = stop


# -------------------------------------------------------------------------------------------------------------------------- wires

cdef inline size_t rest_size(Wire* wire) noexcept nogil:
    return wire.rest_end - wire.rest_at


cdef bint rest_add(Wire* wire, const char* data, size_t size) noexcept nogil:
    """Commit bytes that the kernel has not taken. A frame's remainder or whole frames, so the end is a frame boundary."""
    if wire.rest_at == wire.rest_end:
        wire.rest_at = wire.rest_end = 0
    elif wire.rest_at:
        memmove(wire.rest, wire.rest + wire.rest_at, rest_size(wire))
        wire.rest_end -= wire.rest_at
        wire.rest_at = 0
    if not grow(<void**>&wire.rest, &wire.rest_room, wire.rest_end + size, 1):
        wire.error = ENOMEM
        return False
    memcpy(wire.rest + wire.rest_end, data, size)
    wire.rest_end += size
    return True


cdef size_t wire_send(Wire* wire, const char* data, size_t size) noexcept nogil:
    """Offer bytes to the kernel: how many it took. Less than all leaves `refused` or `error` set."""
    global all_sent_bytes
    cdef ssize_t took
    while True:
        took = c_send(wire.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
        if took >= 0:
            wire.sent_bytes += took
            all_sent_bytes += took
            if <size_t>took < size:
                wire.refused = True
            return took
        if errno == EINTR:
            continue
        if errno == EAGAIN or errno == ENOBUFS:
            wire.refused = True
        else:
            wire.error = errno
        return 0


cdef size_t wire_offer(Wire* wire, const char* data, size_t size) noexcept nogil:
    """As wire_send; a line that is not direct takes a private copy instead, until TURN bytes wait."""
    if wire.direct:
        return wire_send(wire, data, size)
    if rest_size(wire) >= TURN:
        wire.refused = True
        return 0
    return size if rest_add(wire, data, size) else 0


cdef bint rest_send(Wire* wire) noexcept nogil:
    """Send what waits; True when nothing is left of it."""
    cdef size_t size = rest_size(wire)
    wire.refused = False
    if size:
        if not wire.direct:
            wire.refused = size >= TURN
            return not wire.refused
        wire.rest_at += wire_send(wire, wire.rest + wire.rest_at, size)
        if wire.rest_at < wire.rest_end:
            return False
        free(wire.rest)  # a healthy connection holds no buffer
        wire.rest = NULL
        wire.rest_at = wire.rest_end = wire.rest_room = 0
    return True


cdef void wake(Tail_* tail, Wire* wire) noexcept nogil:
    """Ask for the writer task of this connection, once."""
    if wire.woken:
        return
    if grow(<void**>&tail.wakes, &tail.wakes_room, tail.wakes_count + 1, sizeof(void*)):
        tail.wakes[tail.wakes_count] = wire
        tail.wakes_count += 1
        wire.woken = True
    else:
        wire.error = ENOMEM


# ------------------------------------------------------------------------------------------------------------------------ cursors

cdef Block* locate(Tail_* tail, int64_t seq) noexcept nogil:
    """The block that holds this record; NULL when it is evicted, or not yet there."""
    cdef size_t low = tail.blocks_at, high = tail.blocks_end, middle
    if seq >= tail.end or low == high or seq < tail.blocks[low].first:
        return NULL
    if seq >= tail.blocks[high - 1].first:
        return tail.blocks[high - 1]
    while high - low > 1:
        middle = (low + high) // 2
        if tail.blocks[middle].first <= seq:
            low = middle
        else:
            high = middle
    return tail.blocks[low]


cdef inline int64_t oldest(Tail_* tail) noexcept nogil:
    return tail.blocks[tail.blocks_at].first if tail.blocks_at < tail.blocks_end else tail.end


cdef inline int64_t place(Cursor* cursor) noexcept nogil:
    """The sequence number of the next record this cursor has not been offered."""
    cdef int64_t offered
    if cursor.state != S_LIVE:
        return cursor.seq
    offered = cursor.group.first if linked(&cursor.group.due) else cursor.tail.end
    return cursor.seq if cursor.seq > offered else offered


cdef void vector_at(Tail_* tail, int64_t seq, int64_t* out) noexcept nogil:
    """The next offset of every partition at a place in the tail (out has tail.width entries)."""
    cdef Block* block
    cdef size_t i, stop
    if seq >= tail.end:
        memcpy(out, tail.vector, 8 * tail.width)
        return
    memcpy(out, tail.base, 8 * tail.width)
    block = locate(tail, seq)
    if block == NULL:
        return
    memcpy(out, block.vector, 8 * block.width)
    stop = seq - block.first
    for i in range(stop):
        out[block.partition[i]] = block.offset[i] + 1


cdef inline void become(Cursor* cursor, int state) noexcept nogil:
    """Of a cursor whose subscription is attached: its tail counts states."""
    cursor.tail.states[cursor.state] -= 1
    cursor.tail.states[state] += 1
    cursor.state = state


cdef void fall_behind(Cursor* cursor) noexcept nogil:
    become(cursor, S_BEHIND)
    link_remove(&cursor.in_tail)
    link_append(&cursor.tail.behind, &cursor.in_tail)
    link_append(&cursor.wire.behind, &cursor.in_wire)
    wake(cursor.tail, cursor.wire)


cdef void drop(Cursor* cursor, int state) noexcept nogil:
    """It cannot go on by itself: the connection's writer is told. One that keeps its place in the tail stays in its ring (see _fall)."""
    cdef bint reading = cursor.state == S_READING
    link_remove(&cursor.in_tail)
    link_remove(&cursor.in_wire)
    link_remove(&cursor.in_stretch)
    if not reading and (state == S_HOLED or state == S_ARRIVED or state == S_RESTING):
        link_append(&cursor.tail.behind, &cursor.in_tail)
    become(cursor, state)
    cursor.told = False
    if state == S_FALLEN:
        cursor.stretch = NULL
    cursor.wire.dropped += 1
    wake(cursor.tail, cursor.wire)


cdef void floor_check(Cursor* cursor) noexcept nogil:
    """At the end of the tail: forget the floor once the tail has passed it in every partition."""
    cdef int32_t p
    for p in range(cursor.floors):
        if p >= cursor.tail.width or cursor.tail.vector[p] < cursor.floor[p]:
            return
    free(cursor.floor)
    cursor.floor = NULL
    cursor.floors = 0


cdef bint goal_pass(Cursor* cursor, int32_t partition) noexcept nogil:
    """It has passed its goal in this partition: True when that was the last one."""
    cursor.goal[partition] = 0
    cursor.goals_left -= 1
    return cursor.goals_left == 0


cdef bint goal_check(Cursor* cursor, const int64_t* vector, int32_t width) noexcept nogil:
    """Pass the goals that this place is at or behind: True when none is left since then."""
    cdef int32_t p
    for p in range(cursor.goals):
        if p < width and cursor.goal[p] and vector[p] >= cursor.goal[p] and goal_pass(cursor, p):
            return True
    return False


cdef inline bint has_goal(Cursor* cursor, int32_t partition) noexcept nogil:
    return cursor.goals_left > 0 and partition < cursor.goals and cursor.goal[partition] != 0


cdef inline bint below_floor(Cursor* cursor, int32_t partition, int64_t offset) noexcept nogil:
    return cursor.floor != NULL and partition < cursor.floors and offset < cursor.floor[partition]


cdef inline bint wants(Cursor* cursor, uint64_t key) noexcept nogil:
    cdef size_t low = 0, high = cursor.keys_count, middle
    if cursor.keys == NULL:
        return True
    while low < high:
        middle = (low + high) // 2
        if cursor.keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low < cursor.keys_count and cursor.keys[low] == key


# --------------------------------------------------------------------------------------------------------------------- gathering

cdef bint gather_frame(Tail_* tail, Block* block, size_t i, const char* slot) noexcept nogil:
    """Copy one frame to the scratch, with this id; False when memory is out."""
    cdef size_t begin = frame_begin(block, i), size = block.end[i] - begin, entries = scratch.entries
    if not grow(<void**>&scratch.data, &scratch.room, scratch.used + size, 1):
        return False
    if not grow(<void**>&scratch.end, &entries, scratch.count + 1, 4):
        return False
    if not grow(<void**>&scratch.seq, &scratch.entries, scratch.count + 1, 8):
        return False
    memcpy(scratch.data + scratch.used, block.data + begin, size)
    if tail.slot_size:
        slot_write(tail, scratch.data + scratch.used, size, slot)
    scratch.used += size
    scratch.end[scratch.count] = scratch.used
    scratch.seq[scratch.count] = block.first + i
    scratch.count += 1
    return True


cdef int64_t gather_walk(Cursor* cursor, int64_t seq, size_t limit, Stop* stop) noexcept nogil:
    """Gather what this cursor wants from seq on, until `limit` bytes, a hole, or a goal is passed: where it stopped."""
    cdef Tail_* tail = cursor.tail
    cdef Block* block = locate(tail, seq)
    cdef size_t i
    cdef int32_t p
    scratch.used = scratch.count = 0
    stop.hole = False
    stop.passed = -1
    if cursor.conflated and not newest_find(cursor):
        cursor.wire.error = ENOMEM
        return seq
    while block != NULL:
        for i in range(seq - block.first, block.count):
            p = block.partition[i]
            if scratch.used >= limit or (cursor.conflated and block.first + <int64_t>i >= newest.stop):
                return block.first + i
            if has_goal(cursor, p) and block.offset[i] >= cursor.goal[p]:
                stop.passed = p
                return block.first + i
            if wants(cursor, block.key[i]) and not below_floor(cursor, p, block.offset[i]):
                if cursor.conflated and superseded(block.key[i], block.first + i):
                    continue
                if block.end[i] == frame_begin(block, i):
                    stop.hole = True
                    return block.first + i
                if not gather_frame(tail, block, i, cursor.slot):
                    cursor.wire.error = ENOMEM
                    return block.first + i
            if has_goal(cursor, p) and block.offset[i] + 1 == cursor.goal[p]:
                stop.passed = p
                return block.first + i + 1
        seq = block.first + block.count
        block = locate(tail, seq)
    return seq


cdef bint newest_clear(size_t keys) noexcept nogil:
    """Room for this many keys, and none in it; False when memory is out."""
    cdef size_t size = 16, room = newest.room
    while size < 2 * keys:
        size *= 2
    if not grow(<void**>&newest.key, &room, size, 8):
        return False
    if not grow(<void**>&newest.seq, &newest.room, size, 8):
        return False
    newest.mask = size - 1
    memset(newest.key, 0, 8 * size)
    return True


cdef inline size_t newest_place(uint64_t key) noexcept nogil:
    cdef size_t at = key & newest.mask
    while newest.key[at] != NO_KEY and newest.key[at] != key:
        at = (at + 1) & newest.mask
    return at


cdef bint newest_find(Cursor* cursor) noexcept nogil:
    """Note the newest record of each key that this cursor wants, from its place on, as far as one round goes."""
    cdef int64_t seq = cursor.seq, last = cursor.tail.end
    cdef Block* block = locate(cursor.tail, seq)
    cdef size_t i, at
    if last - seq > ROUND_RECORDS:
        last = seq + ROUND_RECORDS
    newest.keys = 0
    newest.start = seq
    newest.stop = last
    if not newest_clear(last - seq if last - seq < ROUND_KEYS else ROUND_KEYS):
        return False
    while block != NULL and seq < last:
        for i in range(seq - block.first, block.count):
            if block.first + <int64_t>i >= last or newest.keys == ROUND_KEYS:
                newest.stop = block.first + i
                return True
            if block.key[i] != NO_KEY and wants(cursor, block.key[i]) and not below_floor(cursor, block.partition[i], block.offset[i]):
                at = newest_place(block.key[i])
                newest.keys += newest.key[at] == NO_KEY
                newest.key[at] = block.key[i]
                newest.seq[at] = block.first + i
        seq = block.first + block.count
        block = locate(cursor.tail, seq)
    return True


cdef inline bint superseded(uint64_t key, int64_t seq) noexcept nogil:
    return key != NO_KEY and newest.seq[newest_place(key)] > seq


cdef int64_t gather_pending(Tail_* tail, Group_* group) noexcept nogil:
    """Gather a key's records that are pending, until GATHER bytes: the place up to which they are gathered.

    Holes are left out, having no frame: a cursor that has one before it walks (see must_walk).
    """
    cdef Block* block
    cdef size_t k, i
    scratch.used = scratch.count = 0
    for k in range(group.pending_count):
        if scratch.used >= GATHER:
            return group.pending[k]
        block = locate(tail, group.pending[k])
        if block == NULL:  # evicted: its cursors have been dropped
            continue
        i = group.pending[k] - block.first
        if block.end[i] > frame_begin(block, i) and not gather_frame(tail, block, i, b"     "):
            return group.pending[k]
    return tail.end


cdef void scratch_patch(Tail_* tail, const char* slot) noexcept nogil:
    cdef size_t k, begin = 0
    if tail.slot_size == 0:
        return
    for k in range(scratch.count):
        slot_write(tail, scratch.data + begin, scratch.end[k] - begin, slot)
        begin = scratch.end[k]


# ------------------------------------------------------------------------------------------------------------------------ serving

cdef inline size_t frame_of(const uint32_t* ends, size_t low, size_t high, size_t at) noexcept nogil:
    """The first frame in low..high that ends behind byte `at`."""
    cdef size_t middle
    while low < high:
        middle = (low + high) // 2
        if ends[middle] <= at:
            low = middle + 1
        else:
            high = middle
    return low


cdef size_t offer_frames(Cursor* cursor, const char* data, const uint32_t* ends, size_t start, size_t stop) noexcept nogil:
    """Offer whole frames start..stop in one send: the first frame not committed. A cut frame is committed, its rest copied out."""
    cdef size_t begin = ends[start - 1] if start else 0
    cdef size_t took = wire_offer(cursor.wire, data + begin, ends[stop - 1] - begin)
    cdef size_t at = begin + took, i = stop
    cursor.tail.sent_bytes += took
    if at < ends[stop - 1]:
        i = frame_of(ends, start, stop, at)
        if at > (ends[i - 1] if i else 0):
            rest_add(cursor.wire, data + at, ends[i] - at)
            i += 1
    cursor.delivered += i - start
    cursor.tail.delivered += i - start
    return i


cdef size_t serve_blocks(Cursor* cursor, size_t limit) noexcept nogil:
    """Send straight from the shared blocks (every record wanted), at most about `limit` bytes: how many were offered."""
    cdef Tail_* tail = cursor.tail
    cdef Block* block
    cdef size_t start, stop, offered = 0
    while cursor.seq < tail.end and offered < limit:
        block = locate(tail, cursor.seq)
        start = cursor.seq - block.first
        stop = block.count
        if block.used - frame_begin(block, start) > limit - offered:
            stop = frame_of(block.end, start, block.count, frame_begin(block, start) + limit - offered)
            stop = stop + 1 if stop < block.count else block.count
        block_patch(tail, block, start, stop, cursor.slot)
        offered += block.end[stop - 1] - frame_begin(block, start) + SEND_COST
        cursor.seq = block.first + offer_frames(cursor, block.data, block.end, start, stop)
        if cursor.wire.refused or cursor.wire.error:
            break
    return offered


cdef size_t serve_walk(Cursor* cursor, size_t limit) noexcept nogil:
    """Walk the index, gather what is wanted, send it: how many bytes were offered. Ends at a hole with state S_HOLED."""
    cdef Stop stop
    cdef int64_t stopped = gather_walk(cursor, cursor.seq, limit, &stop)
    cdef size_t k, cost = scratch.used + SEND_COST
    if cursor.conflated:
        cost += LOOK_COST * <size_t>(newest.stop - newest.start)
    if scratch.count:
        k = offer_frames(cursor, scratch.data, scratch.end, 0, scratch.count)
        if k < scratch.count:
            cursor.seq = scratch.seq[k]
            return cost
    cursor.seq = stopped
    if stop.hole:
        cursor.hole = -1
        drop(cursor, S_HOLED)
    elif stop.passed >= 0 and goal_pass(cursor, stop.passed):
        drop(cursor, S_ARRIVED)
    elif stopped == cursor.tail.end:
        at_end(cursor)
    return cost


cdef void at_end(Cursor* cursor) noexcept nogil:
    """It has had the whole tail: see what of floor and goal is behind it."""
    if cursor.floor != NULL:
        floor_check(cursor)
    if cursor.goals_left and goal_check(cursor, cursor.tail.vector, cursor.tail.width):
        drop(cursor, S_ARRIVED)


cdef inline bint had_round(Cursor* cursor) noexcept nogil:
    return cursor.rests and cursor.delivered > cursor.rested


cdef void rest(Cursor* cursor) noexcept nogil:
    """It has had a round: its owner is told, and says when the next may be (`round`)."""
    cursor.rested = cursor.delivered
    drop(cursor, S_RESTING)


cdef void go_live(Cursor* cursor) noexcept nogil:
    """It has had everything: the group's passes serve it from here; or, after a round, it rests."""
    link_remove(&cursor.in_tail)
    link_remove(&cursor.in_wire)
    if had_round(cursor):
        rest(cursor)
        return
    become(cursor, S_LIVE)
    if cursor.goals_left:
        link_append(&cursor.tail.arriving, &cursor.in_tail)


cdef void arrivals(Tail_* tail) noexcept nogil:
    """Live cursors whose goal is ahead of the tail: the tail has moved, with records they do not want or with none."""
    cdef Link* link = tail.arriving.after
    cdef Link* following
    cdef Cursor* cursor
    while link != &tail.arriving:
        following = link.after
        cursor = <Cursor*>link.item
        if place(cursor) == tail.end:
            cursor.seq = tail.end
            at_end(cursor)
        link = following


cdef bint gather_stretch(Cursor* cursor, size_t start, size_t* stop, size_t limit) noexcept nogil:
    """Gather what is wanted of a stretch's entries start..stop, until `limit` bytes: stop is where it ended. True at a hole."""
    cdef Block* block = cursor.stretch.block
    cdef size_t i
    scratch.used = scratch.count = 0
    for i in range(start, stop[0]):
        if scratch.used < limit and not wants(cursor, block.key[i]):
            continue
        if scratch.used >= limit or block.end[i] == frame_begin(block, i):
            stop[0] = i
            return scratch.used < limit
        if not gather_frame(cursor.tail, block, i, cursor.slot):
            cursor.wire.error = ENOMEM
            stop[0] = i
            return False
    return False


cdef size_t serve_stretch(Cursor* cursor, size_t limit) noexcept nogil:
    """Send what is wanted of the stretch, at most about `limit` bytes: how many were offered. Exhausted, it is away again."""
    cdef Stretch_* stretch = cursor.stretch
    cdef Block* block = stretch.block
    cdef int64_t* wanted = &cursor.floor[stretch.partition]
    cdef size_t start = offset_index(block, wanted[0]), last = offset_index(block, cursor.upto), stop = last, k, offered = 0
    cdef bint hole = False
    if cursor.keys == NULL and not stretch.holes and start < stop:
        if block.end[stop - 1] - frame_begin(block, start) > limit:
            stop = frame_of(block.end, start, stop, frame_begin(block, start) + limit) + 1
            stop = stop if stop < last else last
        block_patch(cursor.tail, block, start, stop, cursor.slot)
        offered = block.end[stop - 1] - frame_begin(block, start)
        stop = offer_frames(cursor, block.data, block.end, start, stop)
    else:
        hole = gather_stretch(cursor, start, &stop, limit)
        offered = scratch.used
        if scratch.count:
            k = offer_frames(cursor, scratch.data, scratch.end, 0, scratch.count)
            if k < scratch.count:
                stop, hole = scratch.seq[k], False
    wanted[0] = block.offset[stop] if stop < last else max(wanted[0], min(cursor.upto, stretch.next))
    if hole:
        cursor.hole = stretch.partition
        drop(cursor, S_HOLED)
    elif stop == last:
        drop(cursor, S_FALLEN)
    return offered + SEND_COST


cdef inline bint must_walk(Cursor* cursor) noexcept nogil:
    return (
        cursor.keys != NULL or cursor.floor != NULL or cursor.goals_left > 0 or cursor.conflated
        or cursor.tail.last_hole >= cursor.seq
    )


cdef inline bint must_walk_key(Cursor* cursor) noexcept nogil:
    """As must_walk, of a cursor that wants one key: its group has gathered its records."""
    return cursor.floor != NULL or cursor.goals_left > 0 or cursor.conflated or cursor.tail.last_hole >= cursor.seq


cdef size_t serve_gathered(Cursor* cursor, int64_t upto) noexcept nogil:
    """Send the gathered records of its key that it has not had."""
    cdef size_t k = 0
    while k < scratch.count and scratch.seq[k] < cursor.seq:
        k += 1
    if k == scratch.count:
        cursor.seq = upto
        return 0
    k = offer_frames(cursor, scratch.data, scratch.end, k, scratch.count)
    cursor.seq = upto if k == scratch.count else scratch.seq[k]
    return scratch.used + SEND_COST


cdef size_t serve_live(Cursor* cursor, int64_t upto, bint gathered) noexcept nogil:
    """Bring a live cursor on in its group's pass; what the kernel refuses makes it a cursor that is behind."""
    cdef size_t offered = 0
    if not cursor.wire.direct or cursor.wire.woken or cursor.wire.error:  # its writer goes on from here, or finds it broken
        fall_behind(cursor)
        return 0
    if gathered:
        offered = serve_gathered(cursor, upto)
    elif must_walk(cursor):
        while cursor.state == S_LIVE and cursor.seq < cursor.tail.end and not (cursor.wire.refused or cursor.wire.error):
            offered += serve_walk(cursor, GATHER)
    else:
        offered = serve_blocks(cursor, <size_t>-1 // 2)
    if cursor.state == S_LIVE and (cursor.wire.refused or cursor.wire.error):
        fall_behind(cursor)
    elif cursor.state == S_LIVE and had_round(cursor):
        rest(cursor)
    return offered


# ------------------------------------------------------------------------------------------------------------------------- passes
# A group that has new records is due. A pass offers them to every live subscriber once, in chunks; records appended meanwhile go out
# with the same sends and make another pass for those that were served before.

cdef void lane_compact(Lane* lane) noexcept nogil:
    cdef size_t i, kept = 0
    if lane.gaps == 0:
        return
    for i in range(lane.count):
        if lane.cursors[i] != NULL:
            lane.cursors[kept] = lane.cursors[i]
            lane.cursors[kept].at = kept
            kept += 1
    lane.count = kept
    lane.gaps = 0


cdef void pass_begin(Tail_* tail, Group_* group) noexcept nogil:
    cdef size_t i
    for i in range(group.lanes_count):
        lane_compact(&group.lanes[i])
        group.lanes[i].pass_count = group.lanes[i].count
        group.lanes[i].start = (group.lanes[i].start + 1) % (group.lanes[i].count if group.lanes[i].count else 1)
    group.pass_lanes = group.lanes_count
    group.lane_at = group.cursor_at = 0
    group.pass_end = tail.end
    group.passing = True


cdef void pass_finish(Tail_* tail, Group_* group) noexcept nogil:
    """All that are live have had everything before pass_end: what is left is due again."""
    cdef size_t k = 0
    cdef bint again = group.pass_end < tail.end
    group.passing = False
    group.first = group.pass_end
    if group.kind == G_KEY:
        while k < group.pending_count and group.pending[k] < group.pass_end:
            k += 1
        group.pending_count -= k
        memmove(group.pending, group.pending + k, 8 * group.pending_count)
        again = group.pending_count > 0
    link_remove(&group.due)
    if again:
        link_append(&tail.due, &group.due)


cdef bint pass_step(Tail_* tail, Group_* group, int64_t* budget) noexcept nogil:
    """Go on with a group's pass: True when it is through, False when the budget is."""
    cdef int64_t upto = tail.end
    cdef Lane* lane
    cdef Cursor* cursor
    cdef size_t i
    cdef bint patched, gathered
    if not group.passing:
        pass_begin(tail, group)
    if group.kind == G_KEY:
        upto = gather_pending(tail, group)
    if upto < group.pass_end:
        group.pass_end = upto
    while group.lane_at < group.pass_lanes:
        lane = &group.lanes[group.lane_at]
        patched = False
        while group.cursor_at < lane.pass_count:
            if budget[0] <= 0:
                return False
            i = lane.start + group.cursor_at
            cursor = lane.cursors[i if i < lane.pass_count else i - lane.pass_count]
            group.cursor_at += 1
            if cursor == NULL or cursor.state != S_LIVE or place(cursor) >= upto:
                continue
            cursor.seq = place(cursor)
            gathered = group.kind == G_KEY and not must_walk_key(cursor)
            if gathered and not patched:
                scratch_patch(tail, lane.slot)
                patched = True
            budget[0] -= serve_live(cursor, upto, gathered)
            if group.kind == G_KEY and not gathered:  # it walked, which used the scratch
                upto = gather_pending(tail, group)
                patched = False
        group.lane_at += 1
        group.cursor_at = 0
    pass_finish(tail, group)
    return True


cdef bint tail_pump(Tail_* tail, int64_t budget) noexcept nogil:
    """Serve due groups in turn: True when some are left."""
    while linked(&tail.due) and budget > 0:
        pass_step(tail, <Group_*>tail.due.after.item, &budget)
    return linked(&tail.due)


cdef int wire_flush(Wire* wire, int64_t budget) noexcept nogil:
    """What waits, then the cursors that are behind, in turns of TURN bytes."""
    cdef Cursor* cursor
    if wire.error:
        return R_BROKEN
    if not rest_send(wire):
        return R_BROKEN if wire.error else R_BLOCKED
    while linked(&wire.behind):
        if budget <= 0:
            return R_MORE
        cursor = <Cursor*>wire.behind.after.item
        link_remove(&cursor.in_wire)
        link_append(&wire.behind, &cursor.in_wire)
        if cursor.state == S_READING:
            budget -= serve_stretch(cursor, TURN)
        elif must_walk(cursor):
            budget -= serve_walk(cursor, TURN)
        else:
            budget -= serve_blocks(cursor, TURN)
        if wire.error:
            return R_BROKEN
        if cursor.state == S_BEHIND and cursor.seq >= cursor.tail.end:
            go_live(cursor)
        if wire.refused:
            return R_BLOCKED
    if rest_size(wire):
        return R_BLOCKED
    wire.woken = False
    return R_DONE


include "fanout_records.pxi"


# ---------------------------------------------------------------------------------------------------------------- Python's view of it

cdef class Line:
    """The outgoing side of one connection: the descriptor, and committed bytes that the kernel has not taken yet.

    fd: a non-blocking stream socket, owned by the caller. direct=False for TLS: nothing is sent from here, `take` gives the bytes.
    owner: any object; `Tail.take_woken` returns it when the connection's writer is needed.
    """

    cdef Wire wire
    cdef public object owner
    cdef object __weakref__

    def __cinit__(self, int fd, bint direct=True, owner=None):
        self.wire.fd = fd
        self.wire.direct = direct
        self.wire.woken = self.wire.refused = False
        self.wire.error = self.wire.dropped = 0
        self.wire.rest = NULL
        self.wire.rest_at = self.wire.rest_end = self.wire.rest_room = 0
        self.wire.sent_bytes = 0
        self.wire.owner = <void*>self
        link_init(&self.wire.behind, NULL)
        link_init(&self.wire.cursors, NULL)
        self.owner = owner

    def __dealloc__(self):
        link_free(&self.wire.behind)
        link_free(&self.wire.cursors)
        free(self.wire.rest)

    def post(self, bytes frames not None):
        """Send whole frames in line with the records, at the next frame boundary.

        True when the caller must start the connection's writer (bytes are left and no writer is there).
        """
        cdef Wire* wire = &self.wire
        cdef size_t size = PyBytes_GET_SIZE(frames), took = 0
        if wire.error:
            return False
        if not rest_size(wire) and wire.direct:
            took = wire_send(wire, PyBytes_AS_STRING(frames), size)
            if took == size:
                return False
        if not wire.error:
            rest_add(wire, PyBytes_AS_STRING(frames) + took, size - took)
        if wire.woken:
            return False
        wire.woken = True
        return True

    def flush(self, int64_t budget):
        """The writer's step: DONE (the writer ends), MORE (go on after a checkpoint), BLOCKED (wait until writable), BROKEN."""
        cdef int found
        with nogil:
            found = wire_flush(&self.wire, budget)
        return found

    def take(self):
        """A copy of the bytes that wait, which are then the caller's to send (a line that is not direct)."""
        cdef bytes taken = PyBytes_FromStringAndSize(self.wire.rest + self.wire.rest_at, rest_size(&self.wire))
        free(self.wire.rest)
        self.wire.rest = NULL
        self.wire.rest_at = self.wire.rest_end = self.wire.rest_room = 0
        self.wire.refused = False
        self.wire.sent_bytes += len(taken)
        global all_sent_bytes
        all_sent_bytes += <size_t>len(taken)
        return taken

    def take_dropped(self):
        """Its subscriptions that cannot go on by themselves (state FALLEN, HOLED, ARRIVED or RESTING) and were not yet told of."""
        cdef Link* link = self.wire.cursors.after
        cdef Cursor* cursor
        cdef list found = []
        if self.wire.dropped == 0:
            return found
        self.wire.dropped = 0
        while link != &self.wire.cursors:
            cursor = <Cursor*>link.item
            if not cursor.told and cursor.state in (S_FALLEN, S_HOLED, S_ARRIVED, S_RESTING):
                cursor.told = True
                (<Subscription>cursor.owner).stretch = None
                found.append(<object>cursor.owner)
            link = link.after
        return found

    def break_off(self, int error):
        """Nothing is sent any more: the connection is gone (errno). No writer is asked for from here on."""
        self.wire.error = error
        self.wire.woken = True

    @property
    def waiting_bytes(self):
        """Committed bytes that the kernel has not taken."""
        return rest_size(&self.wire)

    @property
    def in_flight_bytes(self):
        """Bytes in the kernel that the other end has not acknowledged (tcp(7), SIOCOUTQ); 0 when it is gone. Not once `fd` is closed."""
        cdef int queued = 0
        if c_ioctl(self.wire.fd, SIOCOUTQ, &queued) < 0:
            return 0
        return queued

    @property
    def idle(self):
        """Nothing waits and no subscription is behind."""
        return not rest_size(&self.wire) and not linked(&self.wire.behind)

    @property
    def error(self):
        """The errno that ended it, or 0."""
        return self.wire.error

    @property
    def sent_bytes(self):
        """Bytes the kernel has taken."""
        return self.wire.sent_bytes


cdef class _Group:
    cdef Group_ group
    cdef dict lanes        # id slot -> index in group.lanes
    cdef size_t members
    cdef uint64_t key

    def __cinit__(self, int kind, uint64_t key):
        self.group.kind = kind
        self.group.lanes = NULL
        self.group.lanes_count = self.group.lanes_room = 0
        self.group.pending = NULL
        self.group.pending_count = self.group.pending_room = 0
        self.group.passing = False
        self.group.first = 0
        link_init(&self.group.due, <void*>&self.group)
        self.lanes = {}
        self.members = 0
        self.key = key

    def __dealloc__(self):
        cdef size_t i
        link_free(&self.group.due)
        for i in range(self.group.lanes_count):
            free(self.group.lanes[i].cursors)
        free(self.group.lanes)
        free(self.group.pending)

    cdef void join(self, Cursor* cursor) except *:
        cdef bytes slot = b"" if self.group.kind == G_SEVERAL else PyBytes_FromStringAndSize(cursor.slot, 5)
        cdef Lane* lane
        cdef object at = self.lanes.get(slot)
        if at is None:
            if not grow(<void**>&self.group.lanes, &self.group.lanes_room, self.group.lanes_count + 1, sizeof(Lane)):
                raise MemoryError
            at = self.group.lanes_count
            lane = &self.group.lanes[self.group.lanes_count]
            lane.cursors = NULL
            lane.count = lane.room = lane.gaps = lane.start = lane.pass_count = 0
            memcpy(lane.slot, cursor.slot, 5)
            self.group.lanes_count += 1
            self.lanes[slot] = at
        lane = &self.group.lanes[<size_t>at]
        if lane.gaps and not self.group.passing:
            lane_compact(lane)
        if not grow(<void**>&lane.cursors, &lane.room, lane.count + 1, sizeof(void*)):
            raise MemoryError
        lane.cursors[lane.count] = cursor
        cursor.at = lane.count
        lane.count += 1
        self.members += 1

    cdef void leave(self, Cursor* cursor) except *:
        cdef bytes slot = b"" if self.group.kind == G_SEVERAL else PyBytes_FromStringAndSize(cursor.slot, 5)
        cdef Lane* lane = &self.group.lanes[<size_t>self.lanes[slot]]
        lane.cursors[cursor.at] = NULL
        lane.gaps += 1
        self.members -= 1
        if lane.gaps == lane.count and not self.group.passing:
            self._drop_lane(self.lanes.pop(slot))

    cdef void _drop_lane(self, size_t at) except *:
        """Of an id that nobody uses any more: a pass looks at every lane."""
        cdef size_t last = self.group.lanes_count - 1
        free(self.group.lanes[at].cursors)
        self.group.lanes_count = last
        if at != last:
            self.group.lanes[at] = self.group.lanes[last]
            self.lanes[PyBytes_FromStringAndSize(self.group.lanes[at].slot, 5)] = at


cdef class Tail:
    """The newest records of one topic in one format, in blocks, and the subscribers that read it.

    format: JSON, MSGPACK or VALUE. positions: the next offset of every partition (a list by partition) where it begins.
    block_bytes: size of a block of frames; a frame that is larger has a block of its own.
    """

    cdef Tail_ tail
    cdef dict groups          # key (bytes or None) -> _Group
    cdef _Group whole
    cdef _Group several
    cdef dict several_keys    # key -> how many subscriptions of `several` want it
    cdef dict attached        # subscriptions in the order they came, so that none is freed while the loops hold its cursor
    cdef list woken
    cdef readonly int stale   # records refused since their offset was behind the tail's

    def __cinit__(self, int format, list positions not None, size_t block_bytes=524288):
        cdef int32_t p
        if format not in (F_JSON, F_MSGPACK, F_VALUE):
            raise ValueError(f"unknown format {format}")
        if not 0 < block_bytes <= LARGEST:
            raise ValueError(f"a block of {block_bytes} bytes is not possible")
        self.tail.format = format
        self.tail.slot_at, self.tail.slot_size = {F_JSON: (6, 5), F_MSGPACK: (5, 2), F_VALUE: (0, 0)}[format]
        self.tail.blocks = NULL
        self.tail.blocks_at = self.tail.blocks_end = self.tail.blocks_room = 0
        self.tail.block_bytes = block_bytes
        self.tail.end = 0
        self.tail.last_hole = -1
        self.tail.vector = self.tail.base = NULL
        self.tail.width = 0
        self.tail.memory = 0
        self.tail.delivered = self.tail.sent_bytes = 0
        memset(self.tail.states, 0, sizeof(self.tail.states))
        self.tail.wakes = NULL
        self.tail.wakes_count = self.tail.wakes_room = 0
        link_init(&self.tail.due, NULL)
        link_init(&self.tail.behind, NULL)
        link_init(&self.tail.arriving, NULL)
        self.groups = {}
        self.whole = _Group(G_WHOLE, 0)
        self.several = _Group(G_SEVERAL, 0)
        self.several_keys = {}
        self.attached = {}
        self.woken = []
        self.stale = 0
        for p in range(len(positions)):
            self.add_partition(p, positions[p])

    def __dealloc__(self):
        cdef size_t i
        link_free(&self.tail.due)
        link_free(&self.tail.behind)
        link_free(&self.tail.arriving)
        for i in range(self.tail.blocks_at, self.tail.blocks_end):
            block_free(self.tail.blocks[i])
        free(self.tail.blocks)
        free(self.tail.vector)
        free(self.tail.base)
        free(self.tail.wakes)

    # ------------------------------------------------------------------------------------------------------------- the log's side

    def add_partition(self, int32_t partition, int64_t offset):
        """A partition that exists from now on, read from `offset`. They are added in order: 0, 1, 2 ..."""
        cdef size_t room
        if partition != self.tail.width:
            raise ValueError(f"partition {partition} cannot follow {self.tail.width - 1}")
        room = 0
        if not grow(<void**>&self.tail.vector, &room, partition + 1, 8):
            raise MemoryError
        room = 0
        if not grow(<void**>&self.tail.base, &room, partition + 1, 8):
            raise MemoryError
        self.tail.vector[partition] = self.tail.base[partition] = offset
        self.tail.width += 1

    def append(self, int opcode, bytes payload not None, int32_t partition, int64_t offset, key):
        """Frame a record's payload and add it: False when its offset is behind the tail's (a repeat), which changes nothing.

        key: bytes or None, the record's. The payload of a format with ids has its id slot blank.
        """
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
        if not self.tail.slot_at + self.tail.slot_size <= size <= <Py_ssize_t>LARGEST:
            raise ValueError(f"a payload of {size} bytes has no room for the id, or is too large")
        return self._append(opcode, payload, size, partition, offset, key)

    def append_hole(self, int32_t partition, int64_t offset, key):
        """A record that cannot be shown in this format: a subscription that would have it ends there, with state HOLED."""
        if not self._append(0, b"", -1, partition, offset, key):
            return False
        self.tail.last_hole = self.tail.end - 1
        return True

    def advance(self, int32_t partition, int64_t offset):
        """The log has no record before this offset that is not in the tail (control markers, compaction)."""
        self._check(partition)
        if offset > self.tail.vector[partition]:
            self.tail.vector[partition] = offset

    cdef void _check(self, int32_t partition) except *:
        if not 0 <= partition < self.tail.width:
            raise ValueError(f"partition {partition} is not of this tail, which has {self.tail.width}")

    cdef bint _append(self, int opcode, bytes payload, Py_ssize_t size, int32_t partition, int64_t offset, key) except -1:
        cdef size_t frame = frame_size(size)
        cdef uint64_t hashed = key_hash(key)
        self._check(partition)
        if offset < self.tail.vector[partition]:
            self.stale += 1
            return False
        block_put(self._block_for(frame), opcode, payload, size, partition, offset, hashed)
        self._added(partition, offset, key)
        return True

    cdef void _added(self, int32_t partition, int64_t offset, key) except *:
        self.tail.vector[partition] = offset + 1
        self.tail.end += 1
        self._mark_due(key, self.tail.end - 1)

    cdef Block* _open_frame(self, int opcode, size_t size, int32_t partition, int64_t offset) except? NULL:
        """Room for a frame, with its header: the block, whose `used` is where the payload goes. NULL: its offset is behind the tail's."""
        cdef Block* block
        if offset < self.tail.vector[partition]:
            self.stale += 1
            return NULL
        block = self._block_for(frame_size(size))
        block.used += write_header(block.data + block.used, opcode, size)
        return block

    cdef void _close_frame(self, Block* block, size_t size, int32_t partition, int64_t offset, key) except *:
        """The payload has been written."""
        block.used += size
        block_entry(block, partition, offset, key_hash(key))
        self._added(partition, offset, key)

    def append_json(self, list records not None, Py_ssize_t at, dict heads not None, size_t limit, mend):
        """Add the records from `at` on as Encoder.json and `append` would, up to one that is not usual: its place, or how many there are.

        records: of confluent_kafka. heads: {partition: payload up to the offset}. limit: bytes of a payload. mend: see has_headers.
        """
        cdef Envelope it
        cdef Block* block
        cdef object record, key, value, head, time
        cdef int32_t partition
        cdef size_t size
        if self.tail.format != F_JSON:
            raise ValueError("a tail of another format")
        for at in range(at, PyList_GET_SIZE(records)):
            record = <object>PyList_GET_ITEM(records, at)
            try:
                value, key, partition, time = record.value(), record.key(), record.partition(), record.timestamp()
                head, it.offset, it.time = heads.get(partition), record.offset(), time[1] if time[0] else -1
                if head is None or it.offset < 0 or it.time < -1 or has_headers(record, mend):
                    return at
            except Exception:
                return at
            if not usual_key(key, &it) or not usual_value(value, &it):
                return at
            it.head, it.head_size = PyBytes_AS_STRING(<bytes?>head), PyBytes_GET_SIZE(head)
            size = envelope_size(&it)
            if size > limit or size > LARGEST or not 0 <= partition < self.tail.width:
                return at
            block = self._open_frame(TEXT_OPCODE, size, partition, it.offset)
            if block != NULL:
                put_envelope(block.data + block.used, &it)
                self._close_frame(block, size, partition, it.offset, key)
        return PyList_GET_SIZE(records)

    def append_values(self, list records not None, Py_ssize_t at, size_t limit):
        """As append_json, of bare values and Encoder.value."""
        cdef object record, key, value
        cdef Block* block
        cdef const char* data
        cdef size_t size
        cdef int opcode
        cdef int32_t partition
        cdef int64_t offset
        if self.tail.format != F_VALUE:
            raise ValueError("a tail of another format")
        for at in range(at, PyList_GET_SIZE(records)):
            record = <object>PyList_GET_ITEM(records, at)
            try:
                value, key, partition, offset = record.value(), record.key(), record.partition(), record.offset()
            except Exception:
                return at
            data, size, opcode = b"", 0, BINARY_OPCODE
            if type(value) is bytes:
                data, size = PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)
                if is_utf8(<const uint8_t*>data, <const uint8_t*>data + size):
                    opcode = TEXT_OPCODE
            elif value is not None:
                return at
            if (key is not None and type(key) is not bytes) or size > limit or size > LARGEST or not 0 <= partition < self.tail.width:
                return at
            block = self._open_frame(opcode, size, partition, offset)
            if block != NULL:
                memcpy(block.data + block.used, data, size)
                self._close_frame(block, size, partition, offset, key)
        return PyList_GET_SIZE(records)

    cdef Block* _block_for(self, size_t frame) except NULL:
        """The newest block, with room for one more frame and entry."""
        cdef Tail_* tail = &self.tail
        cdef Block* block = tail.blocks[tail.blocks_end - 1] if tail.blocks_end > tail.blocks_at else NULL
        if block == NULL or (block.count and block.used + frame > tail.block_bytes):
            block = self._new_block(frame)
        tail.memory -= block_memory(block)
        if not block_reserve(block, frame):
            tail.memory += block_memory(block)
            raise MemoryError
        tail.memory += block_memory(block)
        return block

    cdef Block* _new_block(self, size_t frame) except NULL:
        cdef Tail_* tail = &self.tail
        cdef Block* block
        if tail.blocks_at and tail.blocks_end == tail.blocks_room:
            tail.blocks_end -= tail.blocks_at
            memmove(tail.blocks, tail.blocks + tail.blocks_at, tail.blocks_end * sizeof(void*))
            tail.blocks_at = 0
        if not grow(<void**>&tail.blocks, &tail.blocks_room, tail.blocks_end + 1, sizeof(void*)):
            raise MemoryError
        block = block_new(frame if frame > 4096 else 4096, tail.end, tail.vector, tail.width)
        if block == NULL:
            raise MemoryError
        tail.blocks[tail.blocks_end] = block
        tail.blocks_end += 1
        tail.memory += block_memory(block)
        return block

    cdef void _mark_due(self, key, int64_t seq) except *:
        cdef _Group group
        if self.whole.members:
            self._due(&self.whole.group, seq)
        if self.groups:
            found = self.groups.get(key)
            if found is not None:
                group = <_Group>found
                if not grow(<void**>&group.group.pending, &group.group.pending_room, group.group.pending_count + 1, 8):
                    raise MemoryError
                self._due(&group.group, seq)
                group.group.pending[group.group.pending_count] = seq
                group.group.pending_count += 1
        if self.several_keys and key in self.several_keys:
            self._due(&self.several.group, seq)

    cdef void _due(self, Group_* group, int64_t seq) noexcept:
        if linked(&group.due):
            return
        group.first = seq
        group.pending_count = 0
        link_append(&self.tail.due, &group.due)

    def evict(self):
        """Forget the oldest block: the bytes that this freed. Who still wanted it is dropped with state FALLEN, its place kept as a vector."""
        cdef Tail_* tail = &self.tail
        cdef Block* block
        cdef size_t freed
        if tail.blocks_at == tail.blocks_end:
            return 0
        block = tail.blocks[tail.blocks_at]
        self._drop_before(block.first + block.count)
        freed = block_memory(block)
        tail.blocks_at += 1
        tail.memory -= freed
        block_free(block)
        self._collect_wakes()
        return freed

    cdef void _drop_before(self, int64_t seq) except *:
        cdef Subscription subscription
        cdef Cursor* cursor
        cdef Link* link = self.tail.behind.after
        cdef Link* following
        while link != &self.tail.behind:
            following = link.after
            cursor = <Cursor*>link.item
            if cursor.seq < seq:
                self._fall(cursor)
            link = following
        if self._oldest_due() < seq:  # a pass is under way that has not offered these records to all
            for subscription in self.attached:
                cursor = &subscription.cursor
                if cursor.state == S_LIVE and place(cursor) < seq:
                    cursor.seq = place(cursor)
                    self._fall(cursor)

    cdef void _fall(self, Cursor* cursor) except *:
        (<Subscription>cursor.owner)._settle(cursor.seq)
        if cursor.state == S_HOLED:
            link_remove(&cursor.in_tail)
        else:
            drop(cursor, S_FALLEN)

    cdef int64_t _oldest_due(self) noexcept:
        cdef Link* link = self.tail.due.after
        cdef int64_t least = self.tail.end
        while link != &self.tail.due:
            least = min(least, (<Group_*>link.item).first)
            link = link.after
        return least

    # ------------------------------------------------------------------------------------------------------ the subscribers' side

    def pump(self, int64_t budget):
        """Serve subscribers that are due, until about `budget` bytes (a send counts 4096 more): True when some are left."""
        cdef bint more
        with nogil:
            more = tail_pump(&self.tail, budget)
            if not more and linked(&self.tail.arriving):
                arrivals(&self.tail)
        self._collect_wakes()
        return more

    def take_woken(self):
        """Owners of the lines that fell behind since the last call: each needs its writer."""
        woken, self.woken = self.woken, []
        return woken

    cdef void _collect_wakes(self) except *:
        cdef size_t i
        for i in range(self.tail.wakes_count):
            self.woken.append((<Line>self.tail.wakes[i].owner).owner)
        self.tail.wakes_count = 0

    def entry(self, dict positions not None):
        """The newest place from which a cursor that wants these offsets finds all of them here, or None: it must be read back first."""
        cdef Tail_* tail = &self.tail
        cdef size_t i = tail.blocks_end
        cdef Block* block
        cdef int32_t p
        if all(positions.get(p, 0) >= tail.vector[p] for p in range(tail.width)):
            return tail.end
        while i > tail.blocks_at:
            i -= 1
            block = tail.blocks[i]
            if all(positions.get(p, 0) >= (block.vector[p] if p < block.width else tail.base[p]) for p in range(tail.width)):
                return block.first
        return None

    @property
    def format(self):
        """JSON, MSGPACK or VALUE."""
        return self.tail.format

    @property
    def end(self):
        """The sequence number the next record will have."""
        return self.tail.end

    @property
    def start(self):
        """The sequence number of the oldest record it holds."""
        return oldest(&self.tail)

    @property
    def positions(self):
        """The next offset of every partition, at the end."""
        return {p: self.tail.vector[p] for p in range(self.tail.width)}

    @property
    def start_positions(self):
        """The next offset of every partition, at the oldest place."""
        cdef Tail_* tail = &self.tail
        cdef Block* block
        cdef int32_t p
        if tail.blocks_at == tail.blocks_end:
            return self.positions
        block = tail.blocks[tail.blocks_at]
        return {p: block.vector[p] if p < block.width else tail.base[p] for p in range(tail.width)}

    @property
    def memory_bytes(self):
        """What blocks and index take."""
        return self.tail.memory

    @property
    def unserved_bytes(self):
        """Appended bytes that have not been offered to all live subscribers."""
        cdef Tail_* tail = &self.tail
        cdef int64_t first = self._oldest_due()
        cdef size_t i = tail.blocks_end, size = 0
        cdef Block* block
        while i > tail.blocks_at:
            i -= 1
            block = tail.blocks[i]
            if block.first <= first:
                return size + block.used - frame_begin(block, first - block.first)
            size += block.used
        return size

    @property
    def offered(self):
        """The sequence number before which everything has been offered to all live subscribers."""
        return self._oldest_due()

    @property
    def delivered(self):
        """Records committed to a connection since the beginning, counted for each."""
        return self.tail.delivered

    @property
    def subscribers(self):
        """How many subscriptions it has."""
        return len(self.attached)

    def statistics(self):
        """Counters: records and bytes since the beginning, what is held, and how many subscriptions are in which state."""
        cdef size_t* states = self.tail.states
        return {
            "records": self.tail.end, "held": self.tail.end - oldest(&self.tail), "memory_bytes": self.tail.memory,
            "delivered": self.tail.delivered, "sent_bytes": self.tail.sent_bytes, "stale": self.stale,
            "live": states[S_LIVE], "behind": states[S_BEHIND] + states[S_ARRIVED] + states[S_RESTING],
            "resting": states[S_RESTING], "reading": states[S_READING], "dropped": states[S_FALLEN] + states[S_HOLED],
        }

    cdef _Group _group_of(self, frozenset keys, bint create):
        cdef _Group group
        if keys is None:
            return self.whole
        if len(keys) > 1:
            return self.several
        key, = keys
        group = self.groups.get(key)
        if group is None and create:
            group = self.groups[key] = _Group(G_KEY, key_hash(key))
        return group

    cdef void _attach(self, Subscription subscription, frozenset keys) except *:
        cdef _Group group = self._group_of(keys, True)
        subscription.group = group
        subscription.cursor.group = &group.group
        group.join(&subscription.cursor)
        if group is self.several:
            for key in keys:
                self.several_keys[key] = self.several_keys.get(key, 0) + 1
        self.attached[subscription] = None
        self.tail.states[subscription.cursor.state] += 1

    cdef void _detach(self, Subscription subscription, frozenset keys) except *:
        cdef _Group group = subscription.group
        group.leave(&subscription.cursor)
        self.attached.pop(subscription, None)
        self.tail.states[subscription.cursor.state] -= 1
        if group is self.several:
            for key in keys:
                self.several_keys[key] -= 1
                if not self.several_keys[key]:
                    del self.several_keys[key]
        if group.members == 0:
            link_remove(&group.group.due)
            group.group.passing = False
            if group.group.kind == G_KEY:
                key, = keys
                del self.groups[key]


cdef class Stretch:
    """Records of one partition in one format, read back from Kafka, framed like the tail's, shared by whoever needs them.

    start: the offset at which reading began. Made by one thread, then sealed and given to the one that sends.
    """

    cdef Stretch_ stretch
    cdef readonly int format
    cdef readonly int64_t start
    cdef int slot_end

    def __cinit__(self, int format, int32_t partition, int64_t start):
        link_init(&self.stretch.readers, NULL)
        self.stretch.block = block_new(4096, 0, NULL, 0)
        if self.stretch.block == NULL:
            raise MemoryError
        if format not in (F_JSON, F_MSGPACK, F_VALUE) or partition < 0:
            raise ValueError(f"unknown format {format}, or partition {partition} below 0")
        self.stretch.partition = partition
        self.stretch.next = self.start = start
        self.stretch.holes = 0
        self.format = format
        self.slot_end = {F_JSON: 11, F_MSGPACK: 7, F_VALUE: 0}[format]

    def __dealloc__(self):
        link_free(&self.stretch.readers)
        if self.stretch.block != NULL:
            block_free(self.stretch.block)

    def append(self, int opcode, bytes payload not None, int64_t offset, key):
        """Frame a record's payload and add it, as Tail.append does; offsets rise."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
        if not self.slot_end <= size <= <Py_ssize_t>LARGEST:
            raise ValueError(f"a payload of {size} bytes has no room for the id, or is too large")
        self._append(opcode, payload, size, offset, key)

    def append_hole(self, int64_t offset, key):
        """A record that cannot be shown in this format: a subscription that would have it ends there, with state HOLED."""
        self._append(0, b"", -1, offset, key)
        self.stretch.holes += 1

    cdef void _append(self, int opcode, bytes payload, Py_ssize_t size, int64_t offset, key) except *:
        cdef uint64_t hashed = key_hash(key)
        if offset < self.stretch.next:
            raise ValueError(f"offset {offset} does not follow {self.stretch.next - 1}")
        if self.stretch.block.used + frame_size(size) > 2 * LARGEST or not block_reserve(self.stretch.block, frame_size(size)):
            raise MemoryError
        block_put(self.stretch.block, opcode, payload, size, self.stretch.partition, offset, hashed)
        self.stretch.next = offset + 1

    def seal(self, int64_t next):
        """Everything the log has from `start` up to `next` is in it now."""
        if next < self.stretch.next:
            raise ValueError(f"it already holds offset {self.stretch.next - 1}, so it cannot end at {next}")
        self.stretch.next = next

    def revoke(self):
        """Whoever reads it is dropped with state FALLEN, its place kept: for one that is to be forgotten.

        The owners of the lines whose writers are needed to tell them, as of Tail.take_woken.
        """
        cdef Cursor* cursor
        cdef Tail tail
        cdef list woken = []
        while linked(&self.stretch.readers):
            cursor = <Cursor*>self.stretch.readers.after.item
            tail = (<Subscription>cursor.owner).tail
            drop(cursor, S_FALLEN)
            (<Subscription>cursor.owner).stretch = None
            tail._collect_wakes()
            woken += tail.take_woken()
        return woken

    @property
    def partition(self):
        """Of its records."""
        return self.stretch.partition

    @property
    def next(self):
        """The offset at which reading goes on."""
        return self.stretch.next

    @property
    def records(self):
        """How many there are."""
        return self.stretch.block.count

    @property
    def memory_bytes(self):
        """What it takes."""
        return block_memory(self.stretch.block)


cdef class Subscription:
    """A cursor: what one subscription of one connection has had.

    id: 0..65535, written into the id slot. keys: a frozenset of bytes and None, or None for every record. floor: {partition: offset} below
    which records are not wanted. seq: where in the tail it begins (default: the end). away: it does not begin in the tail but at `floor`,
    in state FALLEN, to be fed. goal: {partition: offset}: when all are passed it stops with state ARRIVED, until `go_on`. owner: any object.
    ValueError when seq is no longer, or not yet, in the tail.
    """

    cdef Cursor cursor
    cdef readonly Line line
    cdef readonly Tail tail
    cdef readonly frozenset keys
    cdef Stretch stretch
    cdef _Group group
    cdef readonly int id
    cdef public object owner

    def __cinit__(
        self, Line line not None, Tail tail not None, int id, frozenset keys=None, seq=None, dict floor=None, owner=None,
        bint away=False, dict goal=None,
    ):
        cdef int64_t begin = tail.tail.end if seq is None else seq
        self.cursor.keys = NULL
        self.cursor.floor = NULL
        self.cursor.goal = NULL
        link_init(&self.cursor.in_tail, <void*>&self.cursor)
        link_init(&self.cursor.in_wire, <void*>&self.cursor)
        link_init(&self.cursor.in_line, <void*>&self.cursor)
        link_init(&self.cursor.in_stretch, <void*>&self.cursor)
        if not 0 <= id <= 65535:
            raise ValueError(f"id {id} is not in 0..65535")
        if keys is not None and not keys:
            raise ValueError("keys must not be empty: None stands for every record")
        if not oldest(&tail.tail) <= begin <= tail.tail.end:
            raise ValueError(f"place {begin} is not in the tail, which holds {oldest(&tail.tail)} to {tail.tail.end}")
        if away and not floor:
            raise ValueError("who begins outside the tail says where")
        self.line, self.tail, self.id, self.keys, self.owner = line, tail, id, keys, owner
        self._init_cursor(begin)
        self._set_keys()
        if floor:
            self._set_floor(floor)
        if goal:
            self._set_goal(goal)
        tail._attach(self, keys)
        link_append(&line.wire.cursors, &self.cursor.in_line)
        if away:
            become(&self.cursor, S_FALLEN)
            self.cursor.told = True
        else:
            self._join(begin)
            tail._collect_wakes()

    cdef void _join(self, int64_t seq) except *:
        """Go on in the tail: live at its end, else behind, which asks for the writer."""
        cdef Cursor* cursor = &self.cursor
        cursor.seq = seq
        if seq < self.tail.tail.end:
            fall_behind(cursor)
            return
        go_live(cursor)
        at_end(cursor)

    def enter(self, int64_t seq):
        """From FALLEN into the tail, at a place where it has everything before (Tail.entry). Take the tail's woken afterwards."""
        if self.cursor.state != S_FALLEN:
            raise ValueError("only who has fallen enters")
        if not oldest(&self.tail.tail) <= seq <= self.tail.tail.end:
            raise ValueError(f"place {seq} is not in the tail")
        self.stretch = None
        self._join(seq)
        self.tail._collect_wakes()

    def feed(self, Stretch stretch not None, upto=None):
        """From FALLEN to READING: send what is wanted of the stretch, to its end or the offset `upto`; then it is FALLEN again.

        True when the caller must start the connection's writer. ValueError when the stretch does not hold the next offset wanted.
        """
        cdef Cursor* cursor = &self.cursor
        cdef int32_t p = stretch.stretch.partition
        if cursor.state != S_FALLEN or stretch.format != self.tail.tail.format:
            raise ValueError("only who has fallen is fed, with its own format")
        if p >= cursor.floors:
            self._set_floor(self.positions)
        if p >= cursor.floors or not stretch.start <= cursor.floor[p] <= stretch.stretch.next:
            raise ValueError("the stretch does not go on where this subscription is")
        self.stretch = stretch
        cursor.stretch = &stretch.stretch
        cursor.upto = stretch.stretch.next if upto is None else min(<int64_t>upto, stretch.stretch.next)
        become(cursor, S_READING)
        link_append(&cursor.wire.behind, &cursor.in_wire)
        link_append(&stretch.stretch.readers, &cursor.in_stretch)
        if cursor.wire.woken:
            return False
        cursor.wire.woken = True
        return True

    def go_on(self):
        """From ARRIVED: what is to be said there has been said. Take the tail's woken afterwards."""
        if self.cursor.state == S_ARRIVED:
            self._join(self.cursor.seq)
            self.tail._collect_wakes()

    def pass_hole(self):
        """From HOLED: leave that record out and go on behind it, in the tail or FALLEN. Take the tail's woken afterwards."""
        cdef Cursor* cursor = &self.cursor
        if cursor.state != S_HOLED:
            raise ValueError("only who met a hole passes it")
        if cursor.hole >= 0:
            cursor.floor[cursor.hole] += 1
            cursor.stretch = NULL
            become(cursor, S_FALLEN)
        elif cursor.seq < oldest(cursor.tail):  # it was evicted meanwhile, and the place settled: the hole is met again
            link_remove(&cursor.in_tail)
            become(cursor, S_FALLEN)
        else:
            self._join(cursor.seq + 1)
            self.tail._collect_wakes()

    def move(self, int32_t partition, int64_t offset):
        """While FALLEN: want this offset next (what lies between has been told of otherwise)."""
        if self.cursor.state != S_FALLEN:
            raise ValueError("only who has fallen is moved")
        self._set_floor(self.positions | {partition: offset})

    def conflate(self, bint rests):
        """From here on deliver in rounds: of the records since the last, the newest of each key, and all without one.

        A round is whenever the connection can take one. rests: after each it is RESTING, which its owner is told, until `round`.
        """
        self.cursor.conflated = True
        self.cursor.rests = rests
        self.cursor.rested = self.cursor.delivered

    def round(self):
        """From RESTING: deliver what has come since the last round, or, if nothing has, what comes next. Take the tail's woken
        afterwards."""
        if self.cursor.state == S_RESTING:
            self._join(self.cursor.seq)
            self.tail._collect_wakes()

    def waits(self, size_t limit):
        """Whether more than `limit` bytes of its own frames wait for it; always when they are not in the tail."""
        cdef Cursor* cursor = &self.cursor
        cdef size_t waiting = 0, i
        cdef Block* block
        cdef int64_t seq
        if cursor.state not in (S_LIVE, S_BEHIND, S_ARRIVED, S_RESTING):
            return True
        seq = place(cursor)
        block = locate(cursor.tail, seq)
        while block != NULL and waiting <= limit:
            for i in range(seq - block.first, block.count):
                if wants(cursor, block.key[i]) and not below_floor(cursor, block.partition[i], block.offset[i]):
                    waiting += block.end[i] - frame_begin(block, i)
            seq = block.first + block.count
            block = locate(cursor.tail, seq)
        return waiting > limit

    def jump(self):
        """From BEHIND or FALLEN to the end of the tail, leaving out what lies between: where it was."""
        cdef dict before = self.positions
        if self.cursor.state != S_BEHIND and self.cursor.state != S_FALLEN:
            raise ValueError("only who is behind jumps")
        if before:
            self._set_floor(before)  # it may be ahead of the tail, or in a partition that the tail has not got
        self.stretch = None
        self._join(self.tail.tail.end)
        self.tail._collect_wakes()
        return before

    def pass_goals(self):
        """While FALLEN: pass the goals that its place is at or behind: True when none is left."""
        if self.cursor.goals_left and self.cursor.state == S_FALLEN:
            goal_check(&self.cursor, self.cursor.floor, self.cursor.floors)
        return self.cursor.goals_left == 0

    cdef void _init_cursor(self, int64_t begin) noexcept:
        cdef Cursor* cursor = &self.cursor
        cursor.wire = &self.line.wire
        cursor.tail = &self.tail.tail
        cursor.state = S_LIVE
        cursor.told = False
        cursor.seq = begin
        cursor.floors = 0
        cursor.goals = cursor.goals_left = 0
        cursor.conflated = cursor.rests = False
        cursor.rested = 0
        cursor.stretch = NULL
        cursor.upto = 0
        cursor.keys_count = 0
        cursor.delivered = 0
        cursor.owner = <void*>self
        if self.tail.tail.format == F_MSGPACK:
            cursor.slot[0], cursor.slot[1] = <char>(self.id >> 8), <char>(self.id & 0xff)
            cursor.slot[2] = cursor.slot[3] = cursor.slot[4] = 0
        else:
            text = b"%5d" % self.id
            memcpy(cursor.slot, PyBytes_AS_STRING(text), 5)

    cdef void _set_keys(self) except *:
        cdef list hashes
        if self.keys is None:
            return
        hashes = sorted(key_hash(key) for key in self.keys)
        self.cursor.keys = <uint64_t*>malloc(8 * len(hashes))
        if self.cursor.keys == NULL:
            raise MemoryError
        for self.cursor.keys_count in range(len(hashes)):
            self.cursor.keys[self.cursor.keys_count] = hashes[self.cursor.keys_count]
        self.cursor.keys_count = len(hashes)

    cdef void _set_floor(self, dict floor) except *:
        cdef int32_t width = max(floor) + 1, p
        cdef int64_t* offsets = <int64_t*>malloc(8 * width)
        if offsets == NULL:
            raise MemoryError
        for p in range(width):
            offsets[p] = floor.get(p, 0)
        free(self.cursor.floor)
        self.cursor.floor = offsets
        self.cursor.floors = width

    cdef void _set_goal(self, dict goal) except *:
        cdef int32_t width = max(goal) + 1, p
        self.cursor.goal = <int64_t*>malloc(8 * width)
        if self.cursor.goal == NULL:
            raise MemoryError
        for p in range(width):
            self.cursor.goal[p] = goal.get(p, 0)
            self.cursor.goals_left += self.cursor.goal[p] > 0
        self.cursor.goals = width

    cdef void _settle(self, int64_t seq) except *:
        """Keep the place as a vector, since the tail will not know it any more."""
        cdef dict positions = self._positions_at(seq)
        if positions:
            self._set_floor(positions)

    cdef dict _positions_at(self, int64_t seq):
        cdef Tail_* tail = &self.tail.tail
        cdef int64_t* vector = <int64_t*>malloc(8 * (tail.width if tail.width else 1))
        cdef int32_t p
        if vector == NULL:
            raise MemoryError
        try:
            vector_at(tail, seq, vector)
            return {
                p: max(vector[p] if p < tail.width else 0, self.cursor.floor[p] if p < self.cursor.floors else 0)
                for p in range(max(tail.width, self.cursor.floors))
            }
        finally:
            free(vector)

    @property
    def positions(self):
        """The next offset of every partition: everything before was committed to the connection, or is not wanted.

        Partitions that the tail has not got yet are among them when the floor names them.
        """
        cdef int32_t p
        if self.cursor.state in (S_FALLEN, S_CLOSED, S_READING) or self.cursor.stretch != NULL:
            return {
                p: self.cursor.floor[p] if p < self.cursor.floors else self.tail.tail.base[p]
                for p in range(max(self.tail.tail.width, self.cursor.floors))
            }
        return self._positions_at(place(&self.cursor))

    @property
    def state(self):
        """Where it stands.

        RESTING (until its next round), LIVE, BEHIND (in the tail, not at its end), FALLEN (what it wants next is not in the tail), READING (a stretch), HOLED (what it
        wants next cannot be shown), ARRIVED (at its goal), CLOSED.
        """
        return self.cursor.state

    @property
    def delivered(self):
        """Records committed to the connection."""
        return self.cursor.delivered

    def close(self):
        """Leave the tail: no record of it is sent any more. The last positions. Closing twice is allowed."""
        cdef dict last = self.positions
        if self.cursor.state == S_CLOSED:
            return last
        link_remove(&self.cursor.in_tail)
        link_remove(&self.cursor.in_wire)
        link_remove(&self.cursor.in_line)
        link_remove(&self.cursor.in_stretch)
        if last:
            self._set_floor(last)
        become(&self.cursor, S_CLOSED)
        self.stretch = None
        self.tail._detach(self, self.keys)
        return last

    def __dealloc__(self):
        link_free(&self.cursor.in_tail)
        link_free(&self.cursor.in_wire)
        link_free(&self.cursor.in_line)
        link_free(&self.cursor.in_stretch)
        free(self.cursor.goal)
        free(self.cursor.keys)
        free(self.cursor.floor)


def sent_bytes():
    """Bytes taken from all lines since the beginning, by the kernel or by who encrypts them."""
    return all_sent_bytes


seed_keys()
