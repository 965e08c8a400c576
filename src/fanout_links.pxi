# Part of src/_fanout.pyx: rings of links, memory that grows, and the secret hash of keys.

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
