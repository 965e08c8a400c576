# cython: language_level=3
"""The compiled core: the tail's blocks, the cursors on it, and the loops that send.

Only what runs once per (record, subscriber) or once per byte is here: no I/O decisions, no configuration, no logging, no clock.
A Tail keeps the newest records of one topic in one format, framed once and shared by all; a Subscription is a cursor on it; a Line is
what leaves for one connection. `Tail.append` marks which groups of subscribers are due, `Tail.pump` serves them in chunks, and
`Line.flush` brings on a connection that fell behind. Between any two of these calls anything may subscribe, leave, or be evicted:
a cursor's place, never its being in a list, decides what it gets.

Rules: everything runs in one thread (the event loop's); pointers into a block never outlive the call; the id slot is patched in the
shared block, so whatever is sent later takes a private copy. One translation unit, since the send loops must be; its parts are the
included files below, in the order in which each needs those above it.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, EIO, ENOBUFS, ENOMEM, errno
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
    WAITS_RECORDS = 16384   # looked at for one question how much waits: 0.05 to 0.3 ms
    WALK_COST = 8    # walking past a record that is not wanted costs about as much as copying this many bytes (7 ns)
    LOOK_COST = 16   # looking at a record for a round costs about as much as copying this many bytes
    SEND_COST = 4096 # a send() of any size costs about as much as copying this many bytes (5 us at 1 GB/s, loopback)

include "json_text.pxi"

cdef size_t LARGEST = 1 << 31  # bytes of a payload or a block: ends of frames are kept in 32 bits
cdef int64_t ENDLESS = 0x7FFFFFFFFFFFFFFF

include "fanout_links.pxi"
include "fanout_structs.pxi"
include "fanout_blocks.pxi"
include "fanout_wires.pxi"
include "fanout_cursors.pxi"
include "fanout_serving.pxi"
include "fanout_offers.pxi"
include "fanout_records.pxi"
include "fanout_line.pxi"
include "fanout_tail.pxi"
include "fanout_stretch.pxi"
include "fanout_subscription.pxi"


TOGETHER = together  # from how many on several sends are made in one system call, where the kernel has io_uring


def send_together(least=None):
    """Whether several sends are made in one system call here (io_uring). least: from how many on, from now on; the kernel is asked anew."""
    global together
    if least is not None:
        together = least
        ring_close()
        ring.fd = UNTRIED
    return ring.fd >= 0 or (ring.fd == UNTRIED and ring_open())


def sent_bytes():
    """Bytes taken from all lines since the beginning, by the kernel or by who encrypts them."""
    return all_sent_bytes


seed_keys()
