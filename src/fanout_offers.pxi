# Part of src/_fanout.pyx: what a lane's subscribers are sent, in one system call for many, where the kernel has io_uring.
#
# An offer is one send of shared frames to one connection. Those of a lane are put together and made by one io_uring_enter(), in their
# order, in this thread and before it returns: MSG_DONTWAIT has refused at once what the kernel cannot take, as in send(). Where there is
# no ring each is a send(), and nothing else is different: on Linux before 6.1, under a container's usual seccomp filter, with the sysctl
# kernel.io_uring_disabled, and in another thread than the one that opened it.

cdef struct SubmissionOffsets:   # io_uring_setup(2); the layouts by ourselves, since headers may be older than kernels
    uint32_t head
    uint32_t tail
    uint32_t ring_mask
    uint32_t ring_entries
    uint32_t flags
    uint32_t dropped
    uint32_t array
    uint32_t[3] reserved


cdef struct CompletionOffsets:
    uint32_t head
    uint32_t tail
    uint32_t ring_mask
    uint32_t ring_entries
    uint32_t overflow
    uint32_t cqes
    uint32_t[4] reserved


cdef struct Parameters:
    uint32_t sq_entries
    uint32_t cq_entries
    uint32_t flags
    uint32_t[7] reserved
    SubmissionOffsets sq_off
    CompletionOffsets cq_off


cdef struct Submission:
    uint8_t opcode
    uint8_t[3] flags
    int32_t fd
    uint64_t offset
    uint64_t data
    uint32_t size
    uint32_t message_flags
    uint64_t user_data
    uint64_t[3] reserved


cdef struct Completion:
    uint64_t user_data
    int32_t result
    uint32_t flags


cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* at, size_t size, int protection, int flags, int fd, int64_t offset)
    int munmap(void* at, size_t size)
    const int PROT_READ
    const int PROT_WRITE
    const int MAP_SHARED
    void* MAP_FAILED

cdef extern from "<unistd.h>" nogil:
    long syscall(long number, ...)
    int c_close "close"(int fd)

cdef enum:
    OFFERS = 256             # in one system call: some 0.8 ms
    SUBMIT_ALL = 1 << 7      # flags of io_uring_setup(2)
    SINGLE_ISSUER = 1 << 12
    DEFER_TASKRUN = 1 << 13  # refused before 6.1
    GET_EVENTS = 1           # of io_uring_enter(2)
    OP_SEND = 26
    AT_SQES = 0x10000000     # where of the descriptor the submissions are mapped
    SYS_SETUP = 425          # on every architecture
    SYS_ENTER = 426
    UNTRIED = -1
    NONE = -2

cdef size_t together = 8     # offers from which on one system call costs less than as many send()


cdef struct Offer:
    Cursor* cursor
    Block* block
    size_t start             # frames of the block
    size_t stop
    int64_t took             # bytes, or an errno below zero


cdef struct Ring:
    int fd                   # UNTRIED: not asked for yet; NONE: not to be had
    char* rings
    size_t rings_size
    Submission* sqes
    Completion* cqes
    uint32_t* sq_tail
    uint32_t sq_mask
    uint32_t* cq_head
    uint32_t* cq_tail
    uint32_t cq_mask


cdef Offer[OFFERS] offers    # of the lane that is being served; made before the next one is
cdef size_t offers_count = 0
cdef Ring ring
ring.fd = UNTRIED


cdef void ring_close() noexcept nogil:
    """There is none from here on."""
    if ring.sqes != NULL:
        munmap(ring.sqes, OFFERS * sizeof(Submission))
        ring.sqes = NULL
    if ring.rings != NULL:
        munmap(ring.rings, ring.rings_size)
        ring.rings = NULL
    if ring.fd >= 0:
        c_close(ring.fd)
    ring.fd = NONE


cdef inline void* ring_map(size_t size, int64_t offset) noexcept nogil:
    cdef void* at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, offset)
    return NULL if at == MAP_FAILED else at


cdef bint ring_open() noexcept nogil:
    cdef Parameters asked
    cdef uint32_t* array
    cdef uint32_t i
    memset(&asked, 0, sizeof(asked))
    asked.flags = SUBMIT_ALL | SINGLE_ISSUER | DEFER_TASKRUN
    ring.fd = syscall(SYS_SETUP, <unsigned int>OFFERS, &asked)
    if ring.fd < 0:
        ring.fd = NONE
        return False
    ring.rings_size = max(
        asked.sq_off.array + asked.sq_entries * sizeof(uint32_t), asked.cq_off.cqes + asked.cq_entries * sizeof(Completion)
    )
    ring.rings = <char*>ring_map(ring.rings_size, 0)
    ring.sqes = <Submission*>ring_map(OFFERS * sizeof(Submission), AT_SQES)
    if ring.rings == NULL or ring.sqes == NULL:
        ring_close()
        return False
    ring.sq_tail = <uint32_t*>(ring.rings + asked.sq_off.tail)
    ring.sq_mask = (<uint32_t*>(ring.rings + asked.sq_off.ring_mask))[0]
    ring.cq_head = <uint32_t*>(ring.rings + asked.cq_off.head)
    ring.cq_tail = <uint32_t*>(ring.rings + asked.cq_off.tail)
    ring.cq_mask = (<uint32_t*>(ring.rings + asked.cq_off.ring_mask))[0]
    ring.cqes = <Completion*>(ring.rings + asked.cq_off.cqes)
    array = <uint32_t*>(ring.rings + asked.sq_off.array)
    memset(ring.sqes, 0, OFFERS * sizeof(Submission))
    for i in range(OFFERS):
        array[i] = i
        ring.sqes[i].opcode = OP_SEND
        ring.sqes[i].message_flags = MSG_DONTWAIT | MSG_NOSIGNAL
    return True


cdef inline const char* offer_data(Offer* offer) noexcept nogil:
    return offer.block.data + frame_begin(offer.block, offer.start)


cdef inline size_t offer_size(Offer* offer) noexcept nogil:
    return offer.block.end[offer.stop - 1] - frame_begin(offer.block, offer.start)


cdef size_t ring_send() noexcept nogil:
    """All offers in one system call: how many were made. No memory barriers: the kernel's side runs within the call."""
    cdef uint32_t tail = ring.sq_tail[0], head
    cdef Submission* sqe
    cdef Completion* cqe
    cdef long made
    cdef size_t i
    for i in range(offers_count):
        sqe = &ring.sqes[tail & ring.sq_mask]
        sqe.fd = offers[i].cursor.wire.fd
        sqe.data = <uint64_t>offer_data(&offers[i])
        sqe.size = <uint32_t>offer_size(&offers[i])
        sqe.user_data = i
        offers[i].took = -EIO  # should the kernel not tell: sent again it might arrive twice
        tail += 1
    ring.sq_tail[0] = tail
    while True:
        made = syscall(
            SYS_ENTER, ring.fd, <unsigned int>offers_count, <unsigned int>offers_count, GET_EVENTS, NULL, <size_t>0
        )
        if made >= 0 or errno != EINTR:
            break
    head = ring.cq_head[0]
    while head != ring.cq_tail[0]:
        cqe = &ring.cqes[head & ring.cq_mask]
        offers[cqe.user_data].took = cqe.result
        head += 1
    ring.cq_head[0] = head
    if made != <long>offers_count:
        ring_close()
    return made if made > 0 else 0


cdef void offers_send() noexcept nogil:
    """Make the offers, and bring their cursors on."""
    global offers_count
    cdef size_t i, made = 0
    cdef Offer* offer
    if offers_count >= together and (ring.fd >= 0 or (ring.fd == UNTRIED and ring_open())):
        made = ring_send()
    for i in range(offers_count):
        offer = &offers[i]
        if i >= made or offer.took == -EINTR:
            offer.took = send_once(offer.cursor.wire.fd, offer_data(offer), offer_size(offer))
        offered(offer)
    offers_count = 0


cdef void offered(Offer* offer) noexcept nogil:
    """It has been made: how its cursor goes on."""
    cdef Cursor* cursor = offer.cursor
    cdef size_t took = wire_took(cursor.wire, offer.took, offer_size(offer))
    cursor.wire.offered = False
    cursor.seq = offer.block.first + commit_frames(cursor, offer.block.data, offer.block.end, offer.start, offer.stop, took)
    go_on(cursor)


cdef size_t offer_later(Cursor* cursor) noexcept nogil:
    """Serve a live cursor with those of its lane, if what it is to have is one range of shared frames: its cost, or 0 if it is not."""
    global offers_count
    cdef Tail_* tail = cursor.tail
    cdef Block* block
    cdef size_t start
    cdef Offer* offer
    if not cursor.wire.direct or cursor.wire.woken or cursor.wire.error or must_walk(cursor):
        return 0
    if cursor.wire.offered:  # another one of its connection: should the kernel refuse some of that, this must wait
        offers_send()
        return 0
    block = tail.blocks[tail.blocks_end - 1]
    if cursor.seq < block.first:
        return 0
    start = cursor.seq - block.first
    block_patch(tail, block, start, block.count, cursor.slot)
    offer = &offers[offers_count]
    offer.cursor, offer.block, offer.start, offer.stop = cursor, block, start, block.count
    offers_count += 1
    cursor.wire.offered = True
    if offers_count == OFFERS:
        offers_send()
    return block.used - frame_begin(block, start) + SEND_COST
