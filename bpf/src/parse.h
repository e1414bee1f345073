/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * From bytes to a `packet`: link layer with up to two VLAN tags, IPv4 with options, IPv6 with
 * extension headers, ports. Reads only; every read is behind a check against the end. Works with
 * offsets, because a pointer into a packet doesn't outlive a change of its size.
 */
#pragma once
#include "abi.h"
#include "layout.h"

struct packet {
    /* Who sends to whom; zeroed where IPv4 has nothing. */
    struct tuple6 t;
    /* Where the IP header, and the header behind it, begin. */
    u32 l3;
    u32 l4;
    /* Bytes of the IP packet, header included. */
    u32 length;
    /* TCP's flags. */
    u8 flags;
};

enum parsed { PARSED, PARSED_ICMP, PARSED_FRAGMENT, PARSED_OTHER, PARSED_MALFORMED };

/* No offset in a header chain that we follow is larger; tells the verifier as much. */
#define OFFSET_MAX 4096
#define EXTENSIONS_MAX 4

INLINE void *data_of(struct xdp_md *ctx) { return (void *)(long)ctx->data; }
INLINE void *end_of(struct xdp_md *ctx) { return (void *)(long)ctx->data_end; }

/* The IP header's offset and the protocol's EtherType; 0 where the frame ends too early. */
INLINE u32 parse_link(struct xdp_md *ctx, be16 *type) {
    void *data = data_of(ctx), *end = end_of(ctx);
    struct eth *eth = data;
    if (data + sizeof(*eth) > end) return 0;
    *type = eth->type;
    u32 l3 = sizeof(*eth);
#pragma unroll
    for (int tag = 0; tag < 2; tag++) {
        if (LIKELY(*type != htons(ETHERTYPE_VLAN) && *type != htons(ETHERTYPE_QINQ))) break;
        struct vlan *vlan = data + l3;
        if ((void *)(vlan + 1) > end) return 0;
        *type = vlan->type;
        l3 += sizeof(*vlan);
    }
    return l3;
}

INLINE void put_address4(be32 into[4], be32 from) {
    into[0] = from;
    into[1] = into[2] = into[3] = 0;
}

INLINE void put_address6(be32 into[4], const be32 from[4]) {
    into[0] = from[0];
    into[1] = from[1];
    into[2] = from[2];
    into[3] = from[3];
}

/* Steps over extension headers from `*next` at `*l4` on. */
INLINE int skip_extensions(void *data, void *end, u32 *l4, u8 *next) {
#pragma unroll
    for (int step = 0; step < EXTENSIONS_MAX; step++) {
        if (*next == PROTO_FRAGMENT) return PARSED_FRAGMENT;
        if (LIKELY(*next != PROTO_HOPOPTS && *next != PROTO_ROUTING && *next != PROTO_DSTOPTS)) return PARSED;
        if (*l4 > OFFSET_MAX) return PARSED_MALFORMED;
        u8 *extension = data + *l4;
        if ((void *)(extension + 2) > end) return PARSED_MALFORMED;
        *next = extension[0];
        *l4 += ((u32)extension[1] + 1) * 8;
    }
    return PARSED;
}

/* The IP header at `l3`: addresses, protocol, lengths. */
INLINE int parse_ip(struct xdp_md *ctx, u32 l3, struct packet *p, const int is_v6) {
    void *data = data_of(ctx), *end = end_of(ctx);
    p->l3 = l3;
    p->t.zero[0] = p->t.zero[1] = p->t.zero[2] = 0;
    if (is_v6) {
        struct ipv6 *ip = data + l3;
        if ((void *)(ip + 1) > end) return PARSED_MALFORMED;
        put_address6(p->t.src, ip->src);
        put_address6(p->t.dst, ip->dst);
        p->length = sizeof(*ip) + ntohs(ip->payload);
        p->l4 = l3 + sizeof(*ip);
        p->t.proto = ip->next;
        int found = skip_extensions(data, end, &p->l4, &p->t.proto);
        if (UNLIKELY(found != PARSED)) return found;
    } else {
        struct ipv4 *ip = data + l3;
        if ((void *)(ip + 1) > end) return PARSED_MALFORMED;
        u32 header = (ip->version_ihl & 15) * 4;
        if (header < sizeof(*ip)) return PARSED_MALFORMED;
        put_address4(p->t.src, ip->src);
        put_address4(p->t.dst, ip->dst);
        p->length = ntohs(ip->length);
        p->l4 = l3 + header;
        p->t.proto = ip->proto;
        if (UNLIKELY(ip->fragment & htons(0x3fff))) return PARSED_FRAGMENT;
    }
    /* What the link cut off, its padding behind the packet aside. */
    if (UNLIKELY(data + l3 + p->length > end) && xdp_buff_len(ctx) < l3 + p->length) return PARSED_MALFORMED;
    if (p->l4 > l3 + p->length) return PARSED_MALFORMED;
    return PARSED;
}

/* The whole packet at `l3`. */
INLINE int parse(struct xdp_md *ctx, u32 l3, struct packet *p, const int is_v6) {
    int found = parse_ip(ctx, l3, p, is_v6);
    if (UNLIKELY(found != PARSED)) return found;
    void *data = data_of(ctx), *end = end_of(ctx);
    u32 l4 = p->l4;
    if (l4 > OFFSET_MAX) return PARSED_MALFORMED;
    p->flags = 0;
    if (p->t.proto == PROTO_TCP) {
        struct tcp *tcp = data + l4;
        if ((void *)(tcp + 1) > end || l4 + sizeof(*tcp) > l3 + p->length) return PARSED_MALFORMED;
        p->t.sport = tcp->sport;
        p->t.dport = tcp->dport;
        p->flags = tcp->flags;
        return PARSED;
    }
    if (p->t.proto == PROTO_UDP) {
        struct udp *udp = data + l4;
        if ((void *)(udp + 1) > end || l4 + sizeof(*udp) > l3 + p->length) return PARSED_MALFORMED;
        p->t.sport = udp->sport;
        p->t.dport = udp->dport;
        return PARSED;
    }
    return p->t.proto == (is_v6 ? PROTO_ICMPV6 : PROTO_ICMP) ? PARSED_ICMP : PARSED_OTHER;
}

INLINE int is_first_syn(const struct packet *p) {
    return p->t.proto == PROTO_TCP && (p->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}
