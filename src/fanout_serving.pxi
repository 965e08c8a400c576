# Part of src/_fanout.pyx: one cursor brought on, and the passes over all that are due.

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
    """Offer whole frames start..stop in one send: the first frame not committed."""
    cdef size_t begin = ends[start - 1] if start else 0
    return commit_frames(cursor, data, ends, start, stop, wire_offer(cursor.wire, data + begin, ends[stop - 1] - begin))


cdef size_t commit_frames(Cursor* cursor, const char* data, const uint32_t* ends, size_t start, size_t stop, size_t took) noexcept nogil:
    """So many bytes of frames start..stop were taken: the first frame not committed. A cut frame is committed, its rest copied out."""
    cdef size_t begin = ends[start - 1] if start else 0
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
    else:
        cost += WALK_COST * <size_t>(stopped - cursor.seq)
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
        hole = gather_stretch(cursor, start, &stop, min(limit, <size_t>TURN))
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
    go_on(cursor)
    return offered


cdef void go_on(Cursor* cursor) noexcept nogil:
    """It has been offered what there is: behind when the kernel refused some of it, at rest after a round, live otherwise."""
    if cursor.state == S_LIVE and (cursor.wire.refused or cursor.wire.error):
        fall_behind(cursor)
    elif cursor.state == S_LIVE and had_round(cursor):
        rest(cursor)


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
    cdef size_t i, offered
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
                offers_send()
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
            offered = offer_later(cursor) if group.kind == G_WHOLE else 0
            budget[0] -= offered if offered else serve_live(cursor, upto, gathered)
            if group.kind == G_KEY and not gathered:  # it walked, which used the scratch
                upto = gather_pending(tail, group)
                patched = False
        if offers_count:  # none of one key's subscribers
            offers_send()
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
    """What waits, then the cursors that are behind, in turns of TURN bytes; one that is alone need not take turns."""
    cdef Cursor* cursor
    cdef size_t turn
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
        turn = TURN
        if wire.direct and wire.behind.after == wire.behind.before and budget > TURN:
            turn = budget
        if cursor.state == S_READING:
            budget -= serve_stretch(cursor, turn)
        elif must_walk(cursor):
            budget -= serve_walk(cursor, TURN)
        else:
            budget -= serve_blocks(cursor, turn)
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
