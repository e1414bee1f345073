/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * Checksums by difference (RFC 1624): what changed goes in, the rest of the packet isn't read.
 * Sums are of 16-bit words as they lie in memory; one's complement doesn't mind the byte order.
 */
#pragma once
#include "abi.h"

struct change {
    u64 sum;
};

INLINE void change16(struct change *change, u16 before, u16 after) {
    change->sum += (u16)~before;
    change->sum += after;
}

INLINE void change32(struct change *change, u32 before, u32 after) {
    change->sum += (u32)~before;
    change->sum += after;
}

INLINE void change_address(struct change *change, const be32 *before, const be32 *after, const int is_v6) {
    change32(change, before[0], after[0]);
    if (!is_v6) return;
    change32(change, before[1], after[1]);
    change32(change, before[2], after[2]);
    change32(change, before[3], after[3]);
}

INLINE u16 fold(u64 sum) {
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (u16)((sum & 0xffff) + (sum >> 16));
}

INLINE u16 changed(u16 check, const struct change *change) {
    return (u16)~fold(change->sum + (u16)~check);
}

/* UDP's checksum: 0 means none and stays; one that comes out as 0 is sent as its other zero. */
INLINE u16 changed_udp(u16 check, const struct change *change) {
    if (!check) return 0;
    check = changed(check, change);
    return check ? check : 0xffff;
}

/* Of a fresh IPv4 header without options, its check field zero. */
INLINE u16 sum_of_ipv4(const struct ipv4 *ip) {
    const u16 *words = (const u16 *)ip;
    u64 sum = 0;
#pragma unroll
    for (u32 at = 0; at < sizeof(*ip) / 2; at++) sum += words[at];
    return (u16)~fold(sum);
}
