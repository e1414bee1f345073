/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * ICMP errors follow the flow that they are about: too-big, unreachable, time exceeded, parameter
 * problem. A router quotes the packet that it couldn't send, so the quoted ends are a flow's reversed:
 *
 *   router ─▶ VIP, quotes VIP ─▶ client     a real's packet that didn't reach its client: to that real
 *   router ─▶ us,  quotes us ─▶ real        NAT only: our packet that didn't reach its real: to the client
 *
 * With NAT the quote is translated, too (RFC 5508 §4), so that its receiver knows it for its own.
 * Everything else in ICMP (echo, neighbour discovery) is the stack's.
 */
#pragma once
#include "nat.h"

INLINE int is_error(u8 type, const int is_v6) {
    if (is_v6) return type >= 1 && type <= 4;
    return type == 3 || type == 11 || type == 12;
}

/* The quoted packet at `l3`: like `parse`, but only eight bytes of its transport header need be there. */
INLINE int parse_quote(struct xdp_md *ctx, u32 l3, struct packet *q, const int is_v6) {
    void *data = data_of(ctx), *end = end_of(ctx);
    if (l3 > OFFSET_MAX) return 0;
    if (is_v6) {
        struct ipv6 *ip = data + l3;
        if ((void *)(ip + 1) > end) return 0;
        put_address6(q->t.src, ip->src);
        put_address6(q->t.dst, ip->dst);
        q->t.proto = ip->next;
        q->l4 = l3 + sizeof(*ip);
    } else {
        struct ipv4 *ip = data + l3;
        if ((void *)(ip + 1) > end) return 0;
        u32 header = (ip->version_ihl & 15) * 4;
        if (header < sizeof(*ip) || ip->fragment & htons(0x1fff)) return 0;
        put_address4(q->t.src, ip->src);
        put_address4(q->t.dst, ip->dst);
        q->t.proto = ip->proto;
        q->l4 = l3 + header;
    }
    if (q->t.proto != PROTO_TCP && q->t.proto != PROTO_UDP) return 0;
    u32 l4 = q->l4;
    if (l4 > OFFSET_MAX) return 0;
    struct udp *ports = data + l4;
    if ((void *)(ports + 1) > end) return 0;
    q->t.sport = ports->sport;
    q->t.dport = ports->dport;
    q->t.zero[0] = q->t.zero[1] = q->t.zero[2] = 0;
    q->l3 = l3;
    q->flags = 0;
    return 1;
}

/* The tuple of the packets that the quoted one answers. */
INLINE void reverse(struct packet *f, const struct packet *q) {
    put_address6(f->t.src, q->t.dst);
    put_address6(f->t.dst, q->t.src);
    f->t.sport = q->t.dport;
    f->t.dport = q->t.sport;
    f->t.proto = q->t.proto;
    f->t.zero[0] = f->t.zero[1] = f->t.zero[2] = 0;
    f->flags = 0;
}

/* The quote's transport header: new ports, and its checksum where the quote holds it. */
INLINE void translate_quoted_ports(void *data, void *end, u32 l4, u8 proto, const struct ends *to, const struct change *ends,
                                   struct change *outer) {
    struct udp *ports = data + l4;
    if ((void *)(ports + 1) > end) return;
    struct change change = *ends;
    change16(&change, ports->sport, to->sport);
    change16(&change, ports->dport, to->dport);
    change16(outer, ports->sport, to->sport);
    change16(outer, ports->dport, to->dport);
    ports->sport = to->sport;
    ports->dport = to->dport;
    if (proto == PROTO_UDP) {
        u16 check = changed_udp(ports->check, &change);
        change16(outer, ports->check, check);
        ports->check = check;
        return;
    }
    struct tcp *tcp = data + l4;
    if ((void *)(tcp + 1) > end) return;
    u16 check = changed(tcp->check, &change);
    change16(outer, tcp->check, check);
    tcp->check = check;
}

/* Translates an ICMP error: the outer ends that are given, the quote's to `to`. */
INLINE int translate_error(struct xdp_md *ctx, const struct packet *p, const struct packet *q, const struct ends *outer,
                           const struct ends *to, const int is_v6) {
    void *data = data_of(ctx), *end = end_of(ctx);
    struct change icmp_change = {0}, ip_change = {0}, ends_change = {0};
    u32 l4 = p->l4, quoted = q->l3, quoted_l4 = q->l4;
    if (p->l3 > 22 || l4 > OFFSET_MAX || quoted > OFFSET_MAX || quoted_l4 > OFFSET_MAX) return 0;
    struct icmp *icmp = data + l4;
    if ((void *)(icmp + 1) > end) return 0;
    if (is_v6) {
        struct ipv6 *ip = data + p->l3, *inner = data + quoted;
        if ((void *)(ip + 1) > end || (void *)(inner + 1) > end) return 0;
        change_address(&icmp_change, ip->src, outer->src.w, 1);
        change_address(&icmp_change, ip->dst, outer->dst.w, 1);
        put_address6(ip->src, outer->src.w);
        put_address6(ip->dst, outer->dst.w);
        change_address(&ends_change, inner->src, to->src.w, 1);
        change_address(&ends_change, inner->dst, to->dst.w, 1);
        put_address6(inner->src, to->src.w);
        put_address6(inner->dst, to->dst.w);
        icmp_change.sum += ends_change.sum;
    } else {
        struct ipv4 *ip = data + p->l3, *inner = data + quoted;
        if ((void *)(ip + 1) > end || (void *)(inner + 1) > end) return 0;
        change32(&ip_change, ip->src, outer->src.w[0]);
        change32(&ip_change, ip->dst, outer->dst.w[0]);
        ip->check = changed(ip->check, &ip_change);
        ip->src = outer->src.w[0];
        ip->dst = outer->dst.w[0];
        change32(&ends_change, inner->src, to->src.w[0]);
        change32(&ends_change, inner->dst, to->dst.w[0]);
        u16 check = changed(inner->check, &ends_change);
        icmp_change.sum += ends_change.sum;
        change16(&icmp_change, inner->check, check);
        inner->check = check;
        inner->src = to->src.w[0];
        inner->dst = to->dst.w[0];
    }
    translate_quoted_ports(data, end, quoted_l4, q->t.proto, to, &ends_change, &icmp_change);
    icmp->check = changed(icmp->check, &icmp_change);
    return 1;
}

/* An error about a packet of ours to a real: to the client, as if the VIP's router had sent it. */
INLINE int error_to_client(struct xdp_md *ctx, struct run *run, struct packet *p, struct packet *q, const int is_v6) {
    struct back_key6 key;
    name_back(&key, q->t.dst, q->t.dport, q->t.sport, q->t.proto, is_v6);
    struct back *back = find_back(&key, is_v6);
    if (!back) return leave(run, EXIT_NOT_VIP, XDP_PASS);
    struct ends outer = {}, to;
    put_address6(outer.src.w, back->vip.w);
    put_address6(outer.dst.w, back->client.w);
    put_address6(to.src.w, back->client.w);
    put_address6(to.dst.w, back->vip.w);
    to.sport = back->client_port;
    to.dport = back->vip_port;
    if (!translate_error(ctx, p, q, &outer, &to, is_v6) || !readdress(ctx, back->mac))
        return leave(run, EXIT_NO_ROOM, XDP_DROP);
    return leave(run, EXIT_ICMP, XDP_TX);
}

/* An error about a real's packet to a client: to that real. */
INLINE int error_to_real(struct xdp_md *ctx, struct run *run, const struct vip *vip, struct packet *p, struct packet *q,
                         const int is_v6) {
    struct packet f;
    reverse(&f, q);
    struct flow *flow = find_flow(&f.t, is_v6);
    struct real *real = flow ? real_of(flow->real, flow->generation) : NULL;
    if (vip->action != ACTION_NAT) {
        u32 id;
        if (!real) real = ask_ring(vip, hash_of(&f.t, vip->flags, is_v6), &id);
        if (!real) return leave(run, EXIT_NO_REAL, XDP_DROP);
        return send_whole(ctx, run, vip, p, real, EXIT_ICMP, is_v6);
    }
    if (!real || !flow || !flow->is_nat) return leave(run, EXIT_ICMP_UNKNOWN, XDP_DROP);
    if (!(real->flags & REAL_RESOLVED)) return leave(run, EXIT_NO_NEIGHBOUR, XDP_DROP);
    struct ends outer = {}, to;
    put_address6(outer.src.w, p->t.src);
    put_address6(outer.dst.w, real->addr.w);
    put_address6(to.src.w, real->addr.w);
    if (is_v6) put_address6(to.dst.w, run->set->own6);
    else put_address4(to.dst.w, run->set->own4);
    to.sport = real->port;
    to.dport = flow->nat_port;
    if (!translate_error(ctx, p, q, &outer, &to, is_v6) || !readdress(ctx, real->mac))
        return leave(run, EXIT_NO_ROOM, XDP_DROP);
    return leave(run, EXIT_ICMP, XDP_TX);
}

INLINE int handle_icmp(struct xdp_md *ctx, struct run *run, u32 l3, const int is_v6) {
    struct packet p = {}, q = {};
    if (l3 > 22 || parse_ip(ctx, l3, &p, is_v6) != PARSED) return leave(run, EXIT_MALFORMED, XDP_PASS);
    u32 l4 = p.l4;
    if (l4 > OFFSET_MAX) return leave(run, EXIT_MALFORMED, XDP_PASS);
    struct icmp *icmp = data_of(ctx) + l4;
    if ((void *)(icmp + 1) > end_of(ctx)) return leave(run, EXIT_MALFORMED, XDP_PASS);
    if (!is_error(icmp->type, is_v6)) return leave(run, EXIT_OTHER_PROTOCOL, XDP_PASS);
    if (!parse_quote(ctx, l4 + sizeof(*icmp), &q, is_v6)) return leave(run, EXIT_OTHER_PROTOCOL, XDP_PASS);
    struct vip *vip = find_vip(q.t.src, q.t.sport, q.t.proto, is_v6);
    if (vip && vip->action != ACTION_LOCAL) return error_to_real(ctx, run, vip, &p, &q, is_v6);
    if (is_own(run->set, q.t.src, is_v6)) return error_to_client(ctx, run, &p, &q, is_v6);
    return leave(run, EXIT_NOT_VIP, XDP_PASS);
}

APART int icmp4(struct xdp_md *ctx, struct run *run, u32 l3) { return handle_icmp(ctx, run, l3, 0); }
APART int icmp6(struct xdp_md *ctx, struct run *run, u32 l3) { return handle_icmp(ctx, run, l3, 1); }
