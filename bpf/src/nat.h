/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * Full NAT, both ways in this program: the client talks to the VIP, the real talks to us.
 *
 *   client:port ─▶ VIP:port     flows: {client, VIP, ports}  ─▶ real, our port
 *        ▲                                 │ rewrite: us:our port ─▶ real:port
 *        └── back: {real, port, our port} ─▶ client, VIP   ◀── real answers us
 *
 * The two entries of a flow live and die together: both are made at its first packet, `back` with
 * NOEXIST so that no two flows share a port; ringway's sweep deletes both when neither has seen a packet
 * for long enough; a port whose owner is past its time is taken over on the spot, unless the sweep is
 * at work: it would delete the new owner for the old one. The first SYN of a tuple that is known keeps
 * its entry, so a retransmission takes no second port.
 */
#pragma once
#include "send.h"

#define PORT_ATTEMPTS 16

INLINE void name_back(struct back_key6 *key, const be32 *real, be16 real_port, be16 nat_port, u8 proto, const int is_v6) {
    if (is_v6) put_address6(key->real, real);
    else put_address4(key->real, real[0]);
    key->real_port = real_port;
    key->nat_port = nat_port;
    key->proto = proto;
    key->zero[0] = key->zero[1] = key->zero[2] = 0;
}

INLINE struct back_key4 narrow_back(const struct back_key6 *key) {
    struct back_key4 narrow = {key->real[0], key->real_port, key->nat_port, key->proto, {0, 0, 0}};
    return narrow;
}

INLINE struct back *find_back(const struct back_key6 *key, const int is_v6) {
    if (is_v6) return map_lookup(&nat6, key);
    struct back_key4 narrow = narrow_back(key);
    return map_lookup(&nat4, &narrow);
}

INLINE long keep_back(const struct back_key6 *key, const struct back *back, const int is_v6) {
    if (is_v6) return map_update(&nat6, key, back, UPDATE_NOEXIST);
    struct back_key4 narrow = narrow_back(key);
    return map_update(&nat4, &narrow, back, UPDATE_NOEXIST);
}

INLINE void forget_back(const struct back_key6 *key, const int is_v6) {
    if (is_v6) {
        map_delete(&nat6, key);
        return;
    }
    struct back_key4 narrow = narrow_back(key);
    map_delete(&nat4, &narrow);
}

/* The tuple that the client's packets of this flow have. */
INLINE void name_flow(struct tuple6 *t, const struct back *back, u8 proto, const int is_v6) {
    if (is_v6) {
        put_address6(t->src, back->client.w);
        put_address6(t->dst, back->vip.w);
    } else {
        put_address4(t->src, back->client.w[0]);
        put_address4(t->dst, back->vip.w[0]);
    }
    t->sport = back->client_port;
    t->dport = back->vip_port;
    t->proto = proto;
    t->zero[0] = t->zero[1] = t->zero[2] = 0;
}

/* How long a flow of this kind may be silent, in ticks. The sweep decides by the same. */
INLINE u32 patience(const struct settings *set, u8 proto, u8 client_seen, u8 real_seen) {
    if (proto != PROTO_TCP) return set->idle_udp;
    if ((client_seen | real_seen) & SEEN_RST || client_seen & real_seen & SEEN_FIN) return set->idle_closed;
    return real_seen & SEEN_REPLY ? set->idle_tcp : set->idle_opening;
}

/* Whether the owner of a port is past its time; deletes what it left. */
INLINE int take_over(struct run *run, struct tuple6 *t, const struct back_key6 *key, const int is_v6) {
    struct back *old = find_back(key, is_v6);
    if (!old) return 1;
    if ((int)(run->set->sweep_tick - tick_of(run)) >= 0) return 0;
    name_flow(t, old, key->proto, is_v6);
    struct flow *flow = find_flow(t, is_v6);
    int is_own = flow && flow->is_nat && flow->nat_port == key->nat_port && flow->real == old->real;
    u8 client_seen = is_own ? flow->seen : 0;
    u32 last = is_own && (int)(flow->tick - old->tick) > 0 ? flow->tick : old->tick;
    if (tick_of(run) - last <= patience(run->set, key->proto, client_seen, old->seen)) return 0;
    if (is_own) forget_flow(t, is_v6);
    forget_back(key, is_v6);
    note(run, EVENT_NAT_REUSED);
    return 1;
}

struct ends {
    struct addr src;
    struct addr dst;
    be16 sport;
    be16 dport;
};

/* Writes new ends into the packet and makes its checksums right. */
INLINE int translate(struct xdp_md *ctx, const struct packet *p, const struct ends *to, const int is_v6) {
    void *data = data_of(ctx), *end = end_of(ctx);
    struct change change = {0};
    u32 l4 = p->l4;
    if (l4 > OFFSET_MAX || p->l3 > 22) return 0;
    if (is_v6) {
        struct ipv6 *ip = data + p->l3;
        if ((void *)(ip + 1) > end) return 0;
        change_address(&change, ip->src, to->src.w, 1);
        change_address(&change, ip->dst, to->dst.w, 1);
        put_address6(ip->src, to->src.w);
        put_address6(ip->dst, to->dst.w);
    } else {
        struct ipv4 *ip = data + p->l3;
        if ((void *)(ip + 1) > end) return 0;
        change32(&change, ip->src, to->src.w[0]);
        change32(&change, ip->dst, to->dst.w[0]);
        ip->check = changed(ip->check, &change);
        ip->src = to->src.w[0];
        ip->dst = to->dst.w[0];
    }
    if (p->t.proto == PROTO_TCP) {
        struct tcp *tcp = data + l4;
        if ((void *)(tcp + 1) > end) return 0;
        change16(&change, tcp->sport, to->sport);
        change16(&change, tcp->dport, to->dport);
        tcp->check = changed(tcp->check, &change);
        tcp->sport = to->sport;
        tcp->dport = to->dport;
        return 1;
    }
    struct udp *udp = data + l4;
    if ((void *)(udp + 1) > end) return 0;
    change16(&change, udp->sport, to->sport);
    change16(&change, udp->dport, to->dport);
    udp->check = changed_udp(udp->check, &change);
    udp->sport = to->sport;
    udp->dport = to->dport;
    return 1;
}

/* What the client's packet shows of the flow's end, or of its beginning anew. */
INLINE u8 seen_in(u8 seen, u8 flags) {
    if (flags & TCP_RST) seen |= SEEN_RST;
    if (flags & TCP_FIN) seen |= SEEN_FIN;
    return seen;
}

/* Makes the two entries of a new flow; the flow's real, or NULL. No port in `made`: all are taken. */
INLINE struct real *open_nat(struct xdp_md *ctx, struct run *run, const struct vip *vip, struct packet *p, struct flow *made,
                             const int is_v6) {
    struct real *real = ask_ring(vip, hash_of(&p->t, vip->flags, is_v6), &made->real);
    if (!real) return NULL;
    struct eth *eth = data_of(ctx);
    if ((void *)(eth + 1) > end_of(ctx)) return NULL;
    u32 zero = 0;
    struct scratch *scratch = map_lookup(&scratch_room, &zero);
    if (!scratch) return NULL;
    made->generation = real->generation;
    made->is_nat = 1;
    made->tick = tick_of(run);
    struct back *back = &scratch->back;
    put_address6(back->client.w, p->t.src);
    put_address6(back->vip.w, p->t.dst);
    back->client_port = p->t.sport;
    back->vip_port = p->t.dport;
    back->vip_index = vip->index;
    back->real = made->real;
    back->tick = made->tick;
    back->seen = back->zero = 0;
    copy_mac(back->mac, eth->src);
    struct back_key6 key;
    name_back(&key, real->addr.w, real->port, 0, p->t.proto, is_v6);
    u32 ports = (u32)run->set->port_last - run->set->port_first + 1;
    for (int attempt = 0; attempt < PORT_ATTEMPTS; attempt++) {
        u32 port = run->set->port_first + (u32)((u64)prandom() * ports >> 32);
        key.nat_port = htons(port);
        if (!take_over(run, &scratch->t, &key, is_v6) || keep_back(&key, back, is_v6)) continue;
        made->nat_port = key.nat_port;
        if (!keep_flow(&p->t, made, UPDATE_ANY, is_v6)) return real;
        forget_back(&key, is_v6);
        return NULL;
    }
    made->nat_port = 0;
    return real;
}

APART struct real *open_nat4(struct xdp_md *ctx, struct run *run, const struct vip *vip, struct packet *p, struct flow *made) {
    return open_nat(ctx, run, vip, p, made, 0);
}

APART struct real *open_nat6(struct xdp_md *ctx, struct run *run, const struct vip *vip, struct packet *p, struct flow *made) {
    return open_nat(ctx, run, vip, p, made, 1);
}

/* Brings both entries up to date with a packet that begins or ends a flow. 0: it begins a flow whose way
 * back was evicted. */
INLINE int note_ends(struct flow *flow, const struct packet *p, const struct real *real, const int is_v6) {
    if (!is_first_syn(p)) {
        flow->seen = seen_in(flow->seen, p->flags);
        return 1;
    }
    /* Begins anew, or again: what was seen of the tuple's last use is over. */
    flow->seen = 0;
    struct back_key6 key;
    name_back(&key, real->addr.w, real->port, flow->nat_port, p->t.proto, is_v6);
    struct back *back = find_back(&key, is_v6);
    if (!back) return 0;
    if (back->seen & (SEEN_FIN | SEEN_RST)) back->seen = 0;
    return 1;
}

INLINE void drop_nat(const struct flow *flow, const struct packet *p, const int is_v6) {
    u32 id = flow->real;
    struct real *real = map_lookup(&reals, &id);
    if (real && real->generation == flow->generation) {
        struct back_key6 key;
        name_back(&key, real->addr.w, real->port, flow->nat_port, p->t.proto, is_v6);
        forget_back(&key, is_v6);
    }
    forget_flow(&p->t, is_v6);
}

/* A packet to a NAT VIP, out to its real. */
INLINE int nat_out(struct xdp_md *ctx, struct run *run, const struct vip *vip, struct packet *p, const int is_v6) {
    struct flow *flow = find_flow(&p->t, is_v6);
    struct real *real = NULL;
    be16 nat_port;
    u32 id, is_new = 0;
    if (flow) {
        id = flow->real;
        real = real_of(id, flow->generation);
        if (UNLIKELY(!real || !flow->is_nat)) {
            note(run, EVENT_FLOW_DEAD);
            drop_nat(flow, p, is_v6);
            real = NULL;
        } else if (UNLIKELY(p->flags & (TCP_SYN | TCP_FIN | TCP_RST)) && !note_ends(flow, p, real, is_v6)) {
            forget_flow(&p->t, is_v6);
            real = NULL;
        }
    }
    if (LIKELY(real != NULL)) {
        note(run, EVENT_FLOW_HIT);
        nat_port = flow->nat_port;
        u32 tick = tick_of(run);
        if (flow->tick != tick) flow->tick = tick;
    } else {
        /* The stack answers with a reset: nobody here knows this connection. */
        if (p->t.proto == PROTO_TCP && !is_first_syn(p)) return leave(run, EXIT_NAT_UNKNOWN, XDP_PASS);
        if (!may_insert(run)) return leave(run, EXIT_NAT_FULL, XDP_DROP);
        struct flow made = {};
        real = is_v6 ? open_nat6(ctx, run, vip, p, &made) : open_nat4(ctx, run, vip, p, &made);
        if (!real) return leave(run, EXIT_NO_REAL, XDP_DROP);
        if (!made.nat_port) return leave(run, EXIT_NAT_FULL, XDP_DROP);
        note(run, EVENT_FLOW_NEW);
        nat_port = made.nat_port;
        id = made.real;
        is_new = 1;
    }
    count_real(id, p->length, is_new);
    if (UNLIKELY(!(real->flags & REAL_RESOLVED))) return leave(run, EXIT_NO_NEIGHBOUR, XDP_DROP);
    struct ends to;
    if (is_v6) put_address6(to.src.w, run->set->own6);
    else put_address4(to.src.w, run->set->own4);
    put_address6(to.dst.w, real->addr.w);
    to.sport = nat_port;
    to.dport = real->port;
    if (!translate(ctx, p, &to, is_v6) || !readdress(ctx, real->mac)) return leave(run, EXIT_NO_ROOM, XDP_DROP);
    return leave(run, EXIT_NAT, XDP_TX);
}

/* Whether an address is the one that reals answer to. */
INLINE int is_own(const struct settings *set, const be32 *w, const int is_v6) {
    if (!is_v6) return w[0] == set->own4 && set->own4;
    return w[0] == set->own6[0] && w[1] == set->own6[1] && w[2] == set->own6[2] && w[3] == set->own6[3] &&
           (w[0] | w[1] | w[2] | w[3]);
}

/* A packet to us that may be a real's answer, back to its client. */
INLINE int nat_in(struct xdp_md *ctx, struct run *run, struct packet *p, const int is_v6) {
    struct back_key6 key;
    name_back(&key, p->t.src, p->t.sport, p->t.dport, p->t.proto, is_v6);
    struct back *back = find_back(&key, is_v6);
    if (!back) return leave(run, EXIT_NOT_VIP, XDP_PASS);
    u32 tick = tick_of(run);
    if (back->tick != tick) back->tick = tick;
    u8 seen = seen_in(back->seen, p->flags) | SEEN_REPLY;
    if (back->seen != seen) back->seen = seen;
    struct ends to;
    put_address6(to.src.w, back->vip.w);
    put_address6(to.dst.w, back->client.w);
    to.sport = back->vip_port;
    to.dport = back->client_port;
    if (!translate(ctx, p, &to, is_v6) || !readdress(ctx, back->mac)) return leave(run, EXIT_NO_ROOM, XDP_DROP);
    return leave(run, EXIT_NAT_REPLY, XDP_TX);
}
