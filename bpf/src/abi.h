/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * What the kernel promises to programs: integer types, map declarations, helpers, packet headers.
 * Ours instead of the system's headers, so that clang 14 alone makes the same bytes everywhere.
 */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
/* Big endian, as on the wire. */
typedef u16 be16;
typedef u32 be32;

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
/* A function of its own: code that few packets need stays out of the hot path's way. */
#define APART static __attribute__((noinline))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define NULL ((void *)0)

#define htons(x) ((be16)__builtin_bswap16((u16)(x)))
#define ntohs(x) ((u16)__builtin_bswap16((be16)(x)))
#define htonl(x) ((be32)__builtin_bswap32((u32)(x)))
#define ntohl(x) ((u32)__builtin_bswap32((be32)(x)))

/* Map declarations that loaders read from BTF. */
#define MAP_UINT(name, value) int(*name)[value]
#define MAP_TYPE(name, type) type *name
#define MAP(name, kind, key_type, value_type, max)                                                           \
    struct {                                                                                                   \
        MAP_UINT(type, kind);                                                                                  \
        MAP_UINT(max_entries, max);                                                                            \
        MAP_TYPE(key, key_type);                                                                               \
        MAP_TYPE(value, value_type);                                                                           \
    } name SECTION(".maps")

enum {
    MAP_HASH = 1,
    MAP_ARRAY = 2,
    MAP_PROG_ARRAY = 3,
    MAP_PERCPU_ARRAY = 6,
    MAP_LRU_HASH = 9,
    MAP_CPUMAP = 16,
};
enum { UPDATE_ANY = 0, UPDATE_NOEXIST = 1 };
enum { XDP_ABORTED = 0, XDP_DROP = 1, XDP_PASS = 2, XDP_TX = 3, XDP_REDIRECT = 4 };

struct xdp_md {
    u32 data;
    u32 data_end;
    u32 data_meta;
    u32 ingress_ifindex;
    u32 rx_queue_index;
    u32 egress_ifindex;
};

/* Helpers, by their numbers in include/uapi/linux/bpf.h. */
static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static long (*const map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*const map_delete)(void *map, const void *key) = (void *)3;
static u32 (*const prandom)(void) = (void *)7;
static u32 (*const cpu_id)(void) = (void *)8;
static long (*const tail_call)(void *ctx, void *map, u32 index) = (void *)12;
static long (*const adjust_head)(struct xdp_md *ctx, int delta) = (void *)44;
static long (*const redirect_map)(void *map, u64 key, u64 flags) = (void *)51;
static long (*const adjust_tail)(struct xdp_md *ctx, int delta) = (void *)65;
static u64 (*const ktime_coarse_ns)(void) = (void *)160;
static u64 (*const xdp_buff_len)(struct xdp_md *ctx) = (void *)188;
static long long (*const syncookie_v4)(void *ip, void *tcp, u32 tcp_len) = (void *)204;
static long long (*const syncookie_v6)(void *ip, void *tcp, u32 tcp_len) = (void *)205;

/* Packet headers. */
enum {
    ETHERTYPE_IPV4 = 0x0800,
    ETHERTYPE_IPV6 = 0x86dd,
    ETHERTYPE_VLAN = 0x8100,
    ETHERTYPE_QINQ = 0x88a8,
};
enum {
    PROTO_HOPOPTS = 0,
    PROTO_ICMP = 1,
    PROTO_IPV4 = 4,
    PROTO_TCP = 6,
    PROTO_UDP = 17,
    PROTO_IPV6 = 41,
    PROTO_ROUTING = 43,
    PROTO_FRAGMENT = 44,
    PROTO_ICMPV6 = 58,
    PROTO_DSTOPTS = 60,
};
enum { TCP_FIN = 0x01, TCP_SYN = 0x02, TCP_RST = 0x04, TCP_ACK = 0x10 };

struct eth {
    u8 dst[6];
    u8 src[6];
    be16 type;
};
struct vlan {
    be16 tag;
    be16 type;
};
struct ipv4 {
    u8 version_ihl;
    u8 tos;
    be16 length;
    be16 id;
    be16 fragment;
    u8 ttl;
    u8 proto;
    u16 check;
    be32 src;
    be32 dst;
};
struct ipv6 {
    be32 version_class_flow;
    be16 payload;
    u8 next;
    u8 hops;
    be32 src[4];
    be32 dst[4];
};
struct tcp {
    be16 sport;
    be16 dport;
    be32 seq;
    be32 ack;
    u8 offset;
    u8 flags;
    be16 window;
    u16 check;
    be16 urgent;
};
struct udp {
    be16 sport;
    be16 dport;
    be16 length;
    u16 check;
};
struct icmp {
    u8 type;
    u8 code;
    u16 check;
    be32 rest;
};
