/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * Out by the interface a packet came in by: to a real with a new link address (DSR), or in an outer
 * header (IPIP). VLAN tags stay as they came. A packet that an outer header makes too big for the link
 * is answered as a router would (RFC 792, RFC 4443 §3.2), so that path MTU discovery works.
 */
#pragma once
#include "link.h"
#include "pick.h"
#include "sum.h"

/* Puts the packet at `l3` into an outer one to `real`. */
INLINE int wrap(struct xdp_md *ctx, struct run *run, u32 l3, u32 length, const struct real *real, const int is_v6) {
    if (is_v6) {
        if (!make_room(ctx, l3, sizeof(struct ipv6), htons(ETHERTYPE_IPV6))) return 0;
        struct ipv6 *outer = data_of(ctx) + l3;
        if ((void *)(outer + 2) > end_of(ctx)) return 0;
        outer->version_class_flow = outer[1].version_class_flow;
        outer->payload = htons(length);
        outer->next = PROTO_IPV6;
        outer->hops = 64;
        put_address6(outer->src, run->set->own6);
        put_address6(outer->dst, real->addr.w);
        return readdress(ctx, real->mac);
    }
    if (!make_room(ctx, l3, sizeof(struct ipv4), htons(ETHERTYPE_IPV4))) return 0;
    struct ipv4 *outer = data_of(ctx) + l3;
    if ((void *)(outer + 2) > end_of(ctx)) return 0;
    outer->version_ihl = 0x45;
    outer->tos = outer[1].tos;
    outer->length = htons(length + sizeof(*outer));
    outer->id = 0;
    outer->fragment = htons(0x4000);
    outer->ttl = 64;
    outer->proto = PROTO_IPV4;
    outer->check = 0;
    outer->src = run->set->own4;
    outer->dst = real->addr.w[0];
    outer->check = sum_of_ipv4(outer);
    return readdress(ctx, real->mac);
}

/* Bytes of a packet that an ICMP error quotes here: IP header, and eight of what follows. */
#define QUOTE4 28
#define QUOTE6 48

/* Answers a packet that doesn't fit with the size that would. */
APART int answer_too_big(struct xdp_md *ctx, struct run *run, u32 l3, int is_v6) {
    u32 fits = run->set->mtu - (is_v6 ? sizeof(struct ipv6) : sizeof(struct ipv4));
    u32 quote = is_v6 ? QUOTE6 : QUOTE4;
    if (l3 > 22) return leave(run, EXIT_NO_ROOM, XDP_DROP);
    u32 length = (u32)xdp_buff_len(ctx);
    if (length < l3 + quote) return leave(run, EXIT_NO_ROOM, XDP_DROP);
    if (adjust_tail(ctx, -(int)(length - l3 - quote))) return leave(run, EXIT_NO_ROOM, XDP_DROP);
    u64 sum = 0;
    if (is_v6) {
        if (!make_room(ctx, l3, 48, htons(ETHERTYPE_IPV6))) return leave(run, EXIT_NO_ROOM, XDP_DROP);
        struct ipv6 *ip = data_of(ctx) + l3;
        struct icmp *icmp = (void *)(ip + 1);
        struct ipv6 *quoted = (void *)(icmp + 1);
        if ((void *)quoted + QUOTE6 > end_of(ctx)) return leave(run, EXIT_NO_ROOM, XDP_DROP);
        ip->version_class_flow = htonl(0x60000000);
        ip->payload = htons(sizeof(*icmp) + QUOTE6);
        ip->next = PROTO_ICMPV6;
        ip->hops = 64;
        put_address6(ip->src, quoted->dst);
        put_address6(ip->dst, quoted->src);
        icmp->type = 2;
        icmp->code = 0;
        icmp->check = 0;
        icmp->rest = htonl(fits);
        u16 *words = (u16 *)ip->src;
#pragma unroll
        for (u32 at = 0; at < (32 + sizeof(*icmp) + QUOTE6) / 2; at++) sum += words[at];
        sum += htons(sizeof(*icmp) + QUOTE6);
        sum += htons(PROTO_ICMPV6);
        icmp->check = (u16)~fold(sum);
    } else {
        if (!make_room(ctx, l3, 28, htons(ETHERTYPE_IPV4))) return leave(run, EXIT_NO_ROOM, XDP_DROP);
        struct ipv4 *ip = data_of(ctx) + l3;
        struct icmp *icmp = (void *)(ip + 1);
        struct ipv4 *quoted = (void *)(icmp + 1);
        if ((void *)quoted + QUOTE4 > end_of(ctx)) return leave(run, EXIT_NO_ROOM, XDP_DROP);
        ip->version_ihl = 0x45;
        ip->tos = 0;
        ip->length = htons(sizeof(*ip) + sizeof(*icmp) + QUOTE4);
        ip->id = 0;
        ip->fragment = 0;
        ip->ttl = 64;
        ip->proto = PROTO_ICMP;
        ip->check = 0;
        ip->src = quoted->dst;
        ip->dst = quoted->src;
        ip->check = sum_of_ipv4(ip);
        icmp->type = 3;
        icmp->code = 4;
        icmp->check = 0;
        icmp->rest = htonl(fits & 0xffff);
        u16 *words = (u16 *)icmp;
#pragma unroll
        for (u32 at = 0; at < (sizeof(*icmp) + QUOTE4) / 2; at++) sum += words[at];
        icmp->check = (u16)~fold(sum);
    }
    if (!turn_round(ctx)) return leave(run, EXIT_NO_ROOM, XDP_DROP);
    return leave(run, EXIT_TOO_BIG, XDP_TX);
}

/* Sends the packet at `l3` unchanged, but for its link or outer header, to `real`; counts `exit`. */
INLINE int send_whole(struct xdp_md *ctx, struct run *run, const struct vip *vip, const struct packet *p,
                      const struct real *real, enum exit exit, const int is_v6) {
    if (UNLIKELY(!(real->flags & REAL_RESOLVED))) return leave(run, EXIT_NO_NEIGHBOUR, XDP_DROP);
    if (vip->action == ACTION_DSR) {
        if (!readdress(ctx, real->mac)) return leave(run, EXIT_NO_ROOM, XDP_DROP);
        return leave(run, exit, XDP_TX);
    }
    u32 outer = is_v6 ? sizeof(struct ipv6) : sizeof(struct ipv4);
    if (UNLIKELY(p->length + outer > run->set->mtu)) {
        if (exit == EXIT_ICMP) return leave(run, EXIT_NO_ROOM, XDP_DROP);
        return answer_too_big(ctx, run, p->l3, is_v6);
    }
    if (!wrap(ctx, run, p->l3, p->length, real, is_v6)) return leave(run, EXIT_NO_ROOM, XDP_DROP);
    return leave(run, exit, XDP_TX);
}
