/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * What the balancer and ringway share: keys and values of the maps. src/xdp/layout.rs has the same in
 * Rust and a test that holds both against each other; a change of either raises LAYOUT_VERSION, and
 * pinned maps of another version are refused.
 *
 *   vips4/6 {address, port, proto} ─▶ vip ─▶ flows4/6 {tuple} ─▶ real id
 *                                      └───▶ rings[vip.ring][hash] ─▶ real id ─▶ reals[id]
 *   nat4/6 {real, its port, our port} ─▶ client and VIP: the way back
 */
#pragma once
#include "abi.h"

#define LAYOUT_VERSION 3

/* Slots of a Maglev ring: a prime, so that every stride visits every slot. */
#define RING_SLOTS 65537

/* An address of either family; IPv4 has only the first word. */
struct addr {
    be32 w[4];
};

struct vip_key4 {
    be32 addr;
    be16 port;
    u8 proto;
    u8 zero;
};
struct vip_key6 {
    be32 addr[4];
    be16 port;
    u8 proto;
    u8 zero;
};

enum action { ACTION_LOCAL = 0, ACTION_DSR = 1, ACTION_NAT = 2, ACTION_IPIP = 3 };
enum vip_flag {
    /* The ring is asked by the client's address alone. */
    VIP_BY_SOURCE = 1,
    /* LOCAL: answer SYNs above the rate with cookies. Elsewhere they are dropped. */
    VIP_COOKIES = 2,
};
struct vip {
    /* Which row of vip_stats and syn_rates. */
    u32 index;
    /* Which of rings; its double is at ring ^ 1. */
    u32 ring;
    /* SYNs in a window of 2^27 ns; 0 is no limit. */
    u32 syn_max;
    u8 action;
    u8 flags;
    u16 zero;
};

/* The last slots pad it: the verifier sees a product of 0x20001 at most, not of 0x20000. */
struct ring {
    u16 slot[RING_SLOTS + 3];
};

enum real_flag {
    REAL_UP = 1,
    /* The link address is known. */
    REAL_RESOLVED = 2,
};
struct real {
    struct addr addr;
    be16 port;
    u8 flags;
    u8 zero;
    /* Tells a real from an earlier one with the same id. */
    u32 generation;
    /* Link address of the real, or of the router on the way to it. */
    u8 mac[6];
    /* Which pair of rings it belongs to; for ringway, which adopts maps by it. */
    u16 pair;
};

struct tuple4 {
    be32 src;
    be32 dst;
    be16 sport;
    be16 dport;
    u8 proto;
    u8 zero[3];
};
struct tuple6 {
    be32 src[4];
    be32 dst[4];
    be16 sport;
    be16 dport;
    u8 proto;
    u8 zero[3];
};

/* What was seen of a translated flow; in `flow` from the client's side, in `back` from the real's. */
enum seen { SEEN_FIN = 1, SEEN_RST = 2, SEEN_REPLY = 4 };
struct flow {
    u32 real;
    u32 generation;
    /* NAT: our port towards the real, the tick of the last packet, what was seen. */
    be16 nat_port;
    u8 seen;
    u8 is_nat;
    u32 tick;
};

struct back_key4 {
    be32 real;
    be16 real_port;
    be16 nat_port;
    u8 proto;
    u8 zero[3];
};
struct back_key6 {
    be32 real[4];
    be16 real_port;
    be16 nat_port;
    u8 proto;
    u8 zero[3];
};
struct back {
    struct addr client;
    struct addr vip;
    be16 client_port;
    be16 vip_port;
    u32 vip_index;
    u32 real;
    u32 tick;
    /* Where the client's packets come from on the link. */
    u8 mac[6];
    u8 seen;
    u8 zero;
};

struct settings {
    u32 version;
    /* Answered SYNs let one in this many through: the kernel takes cookies only while it sees SYNs. */
    u32 cookie_pass;
    /* Added to the clock, so that tests can let hours pass. */
    u64 clock_add;
    /* New flow entries that one CPU may make in a window of 2^27 ns. */
    u32 inserts_max;
    /* Rows of shard_cpus that local packets are spread over; 0 is off. */
    u32 steer_cpus;
    /* Our addresses towards reals: NAT's source, IPIP's outer source. */
    be32 own4;
    be32 own6[4];
    /* NAT's ports, first and last. */
    u16 port_first;
    u16 port_last;
    /* Largest IP packet that leaves by this interface. */
    u32 mtu;
    /* Idle times in ticks of 2^30 ns. */
    u32 idle_tcp;
    u32 idle_udp;
    u32 idle_opening;
    u32 idle_closed;
    /* The last tick of a sweep's deletions: until then no port is taken over. */
    u32 sweep_tick;
};

/* How a packet left; exactly one is counted per packet. */
enum exit {
    EXIT_NOT_IP,
    EXIT_MALFORMED,
    EXIT_OTHER_PROTOCOL,
    EXIT_NOT_VIP,
    EXIT_LOCAL,
    EXIT_STEERED,
    EXIT_COOKIE,
    EXIT_SYN_RATE,
    EXIT_FRAGMENT,
    EXIT_NO_REAL,
    EXIT_NO_NEIGHBOUR,
    EXIT_DSR,
    EXIT_IPIP,
    EXIT_TOO_BIG,
    EXIT_NAT,
    EXIT_NAT_REPLY,
    EXIT_NAT_UNKNOWN,
    EXIT_NAT_FULL,
    EXIT_ICMP,
    EXIT_ICMP_UNKNOWN,
    EXIT_NO_ROOM,
    EXITS,
};
/* What happened on the way; any number per packet. */
enum event {
    EVENT_FLOW_HIT,
    EVENT_FLOW_NEW,
    /* The flow's real is down or gone: a new pick. */
    EVENT_FLOW_DEAD,
    /* Above inserts_max: went by the ring without an entry. */
    EVENT_FLOW_UNKEPT,
    EVENT_NAT_REUSED,
    EVENTS,
};
struct counts {
    u64 exits[EXITS];
    u64 events[EVENTS];
    /* The window that this CPU's inserts are counted in. */
    u64 window;
    u64 inserts;
};

struct stats {
    u64 packets;
    u64 bytes;
    u64 flows;
};
/* SYNs of a VIP over all CPUs, and the window that they are counted in. */
struct rate {
    u64 window;
    u64 count;
};

/* Room that the stack's 512 bytes haven't got. */
struct scratch {
    struct back back;
    struct tuple6 t;
};

struct cpu_value {
    u32 queue;
    u32 program;
};
