/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * The link header: new addresses for a frame, and room between it and the IP header. VLAN tags stay.
 */
#pragma once
#include "parse.h"

INLINE void copy_mac(u8 *into, const u8 *from) {
    *(u32 *)into = *(const u32 *)from;
    *(u16 *)(into + 4) = *(const u16 *)(from + 4);
}

/* Sends the frame on to `mac`, from the address that it was sent to. */
INLINE int readdress(struct xdp_md *ctx, const u8 *mac) {
    struct eth *eth = data_of(ctx);
    if ((void *)(eth + 1) > end_of(ctx)) return 0;
    copy_mac(eth->src, eth->dst);
    copy_mac(eth->dst, mac);
    return 1;
}

/* Sends the frame back where it came from. */
INLINE int turn_round(struct xdp_md *ctx) {
    struct eth *eth = data_of(ctx);
    if ((void *)(eth + 1) > end_of(ctx)) return 0;
    u8 mac[8];
    copy_mac(mac, eth->src);
    copy_mac(eth->src, eth->dst);
    copy_mac(eth->dst, mac);
    return 1;
}

/* A link header with its tags, on its way to another place. */
struct link {
    u32 words[6];
};

INLINE int take_link(struct xdp_md *ctx, u32 l3, struct link *link) {
    const u32 *words = data_of(ctx);
    if ((void *)(words + 6) > end_of(ctx)) return 0;
#pragma unroll
    for (int at = 0; at < 6; at++) link->words[at] = words[at];
    return l3 <= 22;
}

/* Writes the link header in front of the IP header at `l3`; the EtherType becomes `type`. */
INLINE int put_link(struct xdp_md *ctx, u32 l3, const struct link *link, be16 type) {
    u32 *words = data_of(ctx);
    if ((void *)(words + 6) > end_of(ctx)) return 0;
#pragma unroll
    for (int at = 0; at < 3; at++) words[at] = link->words[at];
    if (l3 == 14) {
        *(be16 *)(words + 3) = type;
        return 1;
    }
    words[3] = link->words[3];
    if (l3 == 18) {
        *(be16 *)(words + 4) = type;
        return 1;
    }
    words[4] = link->words[4];
    *(be16 *)(words + 5) = type;
    return 1;
}

/* Makes `bytes` of room (or takes them away) between link and IP header. */
INLINE int make_room(struct xdp_md *ctx, u32 l3, int bytes, be16 type) {
    struct link link;
    if (!take_link(ctx, l3, &link)) return 0;
    if (adjust_head(ctx, -bytes)) return 0;
    return put_link(ctx, l3, &link, type);
}
