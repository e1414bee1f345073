/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * Which real a packet goes to: the flow table first, then the VIP's ring.
 *
 *   known flow, real up ─────────────▶ that real           EVENT_FLOW_HIT
 *   first SYN ───────────────────────▶ ring; entry made or changed
 *   unknown, or its real is down ────▶ ring; entry made     EVENT_FLOW_NEW, EVENT_FLOW_DEAD
 *   over the CPU's insert cap ───────▶ ring; no entry       EVENT_FLOW_UNKEPT
 *
 * A flow that isn't kept goes where its hash says, which is where its entry would have pointed, until
 * the ring changes. So a flood of new flows costs stickiness at worst, never service.
 */
#pragma once
#include "maps.h"
#include "parse.h"

/* What one packet's way needs again and again. */
struct run {
    struct settings *set;
    struct counts *counts;
    /* Coarse: the kernel's last tick, plus what tests add. */
    u64 now;
};

#define WINDOW_SHIFT 27
#define TICK_SHIFT 30

INLINE int leave(struct run *run, enum exit exit, int verdict) {
    run->counts->exits[exit]++;
    return verdict;
}

INLINE void note(struct run *run, enum event event) { run->counts->events[event]++; }

INLINE u32 tick_of(struct run *run) { return (u32)(run->now >> TICK_SHIFT); }

INLINE u32 rotate(u32 word, u32 by) { return word << by | word >> (32 - by); }

/* Bob Jenkins' final mix (lookup3, public domain): the same on every box, so that any box of a group
 * sends a flow the same way. */
INLINE u32 mix(u32 a, u32 b, u32 c) {
    a += 0xdeadbef7, b += 0xdeadbef7, c += 0xdeadbef7;
    c ^= b, c -= rotate(b, 14);
    a ^= c, a -= rotate(c, 11);
    b ^= a, b -= rotate(a, 25);
    c ^= b, c -= rotate(b, 16);
    a ^= c, a -= rotate(c, 4);
    b ^= a, b -= rotate(a, 14);
    c ^= b, c -= rotate(b, 24);
    return c;
}

INLINE u32 hash_address(const be32 *w, const int is_v6) {
    return is_v6 ? mix(w[0] ^ rotate(w[1], 16), w[2], w[3]) : w[0];
}

INLINE u32 hash_of(const struct tuple6 *t, u8 flags, const int is_v6) {
    u32 src = hash_address(t->src, is_v6);
    if (flags & VIP_BY_SOURCE) return mix(src, 0, 0);
    u32 dst = hash_address(t->dst, is_v6);
    return mix(src, dst, ((u32)t->sport << 16 | t->dport) + t->proto);
}

INLINE struct vip *find_vip(const be32 *address, be16 port, u8 proto, const int is_v6) {
    if (is_v6) {
        struct vip_key6 key = {{address[0], address[1], address[2], address[3]}, port, proto, 0};
        return map_lookup(&vips6, &key);
    }
    struct vip_key4 key = {address[0], port, proto, 0};
    return map_lookup(&vips4, &key);
}

INLINE struct tuple4 narrow(const struct tuple6 *t) {
    struct tuple4 key = {t->src[0], t->dst[0], t->sport, t->dport, t->proto, {0, 0, 0}};
    return key;
}

INLINE struct flow *find_flow(const struct tuple6 *t, const int is_v6) {
    if (is_v6) return map_lookup(&flows6, t);
    struct tuple4 key = narrow(t);
    return map_lookup(&flows4, &key);
}

INLINE long keep_flow(const struct tuple6 *t, const struct flow *flow, u64 flags, const int is_v6) {
    if (is_v6) return map_update(&flows6, t, flow, flags);
    struct tuple4 key = narrow(t);
    return map_update(&flows4, &key, flow, flags);
}

INLINE void forget_flow(const struct tuple6 *t, const int is_v6) {
    if (is_v6) {
        map_delete(&flows6, t);
        return;
    }
    struct tuple4 key = narrow(t);
    map_delete(&flows4, &key);
}

/* The real of a flow, if it still is that one and up. */
INLINE struct real *real_of(u32 id, u32 generation) {
    struct real *real = map_lookup(&reals, &id);
    if (!real || real->generation != generation || !(real->flags & REAL_UP)) return NULL;
    return real;
}

/* The ring's answer. A real that went down a moment ago is still in it: others are tried. */
INLINE struct real *ask_ring(const struct vip *vip, u32 hash, u32 *id) {
    struct ring *ring = map_lookup(&rings, &vip->ring);
    if (!ring) return NULL;
#pragma unroll
    for (int attempt = 0; attempt < 4; attempt++) {
        u32 slot = (u32)((u64)hash * RING_SLOTS >> 32);
        *id = ring->slot[slot];
        struct real *real = map_lookup(&reals, id);
        if (LIKELY(real && real->flags & REAL_UP)) return real;
        hash = hash * 0x9e3779b1 + 0x7f4a7c15;
    }
    return NULL;
}

/* Whether this CPU may make one more entry in this window. */
INLINE int may_insert(struct run *run) {
    struct counts *counts = run->counts;
    u64 window = run->now >> WINDOW_SHIFT;
    if (counts->window != window) {
        counts->window = window;
        counts->inserts = 0;
    }
    if (counts->inserts >= run->set->inserts_max) {
        note(run, EVENT_FLOW_UNKEPT);
        return 0;
    }
    counts->inserts++;
    return 1;
}

INLINE void count_real(u32 id, u32 bytes, u32 flows) {
    struct stats *stats = map_lookup(&real_stats, &id);
    if (!stats) return;
    stats->packets++;
    stats->bytes += bytes;
    stats->flows += flows;
}

/* What `pick` found, for the new flow's entry. */
struct choice {
    struct real *real;
    u32 id;
    u32 is_new;
};

/* The real of a packet to a DSR or IPIP VIP; remembers the flow. */
INLINE struct choice pick(struct run *run, const struct vip *vip, const struct packet *p, const int is_v6) {
    struct choice choice = {NULL, 0, 0};
    struct flow *flow = find_flow(&p->t, is_v6);
    if (flow && !is_first_syn(p)) {
        choice.id = flow->real;
        choice.real = real_of(choice.id, flow->generation);
        if (LIKELY(choice.real)) {
            note(run, EVENT_FLOW_HIT);
            return choice;
        }
        note(run, EVENT_FLOW_DEAD);
    }
    choice.real = ask_ring(vip, hash_of(&p->t, vip->flags, is_v6), &choice.id);
    if (!choice.real) return choice;
    if (flow) {
        /* A tuple used anew, or a dead real's flow: the entry is there and only changes. */
        flow->real = choice.id;
        flow->generation = choice.real->generation;
        return choice;
    }
    note(run, EVENT_FLOW_NEW);
    choice.is_new = 1;
    if (may_insert(run)) {
        struct flow fresh = {choice.id, choice.real->generation, 0, 0, 0, 0};
        keep_flow(&p->t, &fresh, UPDATE_ANY, is_v6);
    }
    return choice;
}
