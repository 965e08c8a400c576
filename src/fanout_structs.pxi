# Part of src/_fanout.pyx: what there is: blocks, wires, cursors, groups in lanes, tails, stretches.

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
    bint offered             # with others, not yet made (offers)
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
    int64_t counted_from     # of the records counted_from..counted its own frames are counted_bytes (see waiting)
    int64_t counted
    size_t counted_bytes
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
