/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Classifies the bytes of packets and of disk requests by the origin of their memory: page cache
 * of a file in the scope, page cache of another file, memory of a process, memory of the kernel.
 * That distinguishes copied bytes from referenced ones without a hook on a function; the functions
 * that copy cannot be hooked on a stock kernel.
 *
 * Limitations: a slab page in a fragment counts as page cache of another file.
 */
#ifndef KAREZ_PAGES_H
#define KAREZ_PAGES_H

#include "scope.h"

enum { FRAGS = 17, BIOS = 1024 };

/* Counters of a group of packets, by the origin of the bytes. OURS: a file in the scope. */
enum { PACKETS, HEADERS, LINEAR, OURS, CACHE, ANONYMOUS, KERNELS, UNSORTED, GROUP };

/* Returns the origin of a page: OURS, CACHE, ANONYMOUS or KERNELS. */
INLINE int provenance(unsigned long page)
{
	unsigned long head = READ((struct page *)page, compound_head);
	if (head & 1)
		page = head - 1;
	unsigned long mapping = (unsigned long)READ((struct folio *)page, mapping);
	if (!mapping)
		return KERNELS;
	if (mapping & 3)
		return ANONYMOUS;
	return is_ours((void *)mapping) ? OURS : CACHE;
}

/* The headers of an outgoing packet: length in bytes, and first sequence number if it is TCP. */
struct headers { __u32 length, sequence; int is_tcp; };

INLINE struct headers headers(struct sk_buff *skb)
{
	struct headers found = {};
	unsigned char *head = READ(skb, head), *data = READ(skb, data);
	unsigned char *network = head + READ(skb, network_header);
	__u16 offset = READ(skb, transport_header);
	unsigned char *transport = head + offset;
	__u32 before = transport - data;
	__u8 version = 0, protocol = 0, words = 0;
	if (offset == 0xffff || before > 512)
		return found;
	bpf_probe_read_kernel(&version, 1, network);
	bpf_probe_read_kernel(&protocol, 1, version >> 4 == 6 ? network + 6 : network + 9);
	found.length = before + 8;
	/* The TCP header contains its length; all other packets of the laboratory are UDP. */
	if (protocol != 6)
		return found;
	bpf_probe_read_kernel(&words, 1, transport + 12);
	bpf_probe_read_kernel(&found.sequence, 4, transport + 4);
	found.length = before + (words >> 4) * 4;
	found.sequence = __builtin_bswap32(found.sequence);
	found.is_tcp = 1;
	return found;
}

/* Adds the bytes of a packet to the counters of a group. They are in a map or in the ring buffer:
 * on the stack the verifier would track the value of each. */
INLINE void classify(struct sk_buff *skb, __u32 header, __u64 *to)
{
	__u32 paged = READ(skb, data_len), linear = READ(skb, len) - paged;
	unsigned char *head = READ(skb, head);
	struct skb_shared_info *shared = (void *)(head + READ(skb, end));
	struct frag frags[FRAGS];
	__u8 count = READ(shared, nr_frags);
	if (header > linear)
		header = linear;
	ADD(to[PACKETS], 1);
	ADD(to[HEADERS], header);
	ADD(to[LINEAR], linear - header);
	if (!paged)
		return;
	if (bpf_probe_read_kernel(frags, sizeof(frags), __builtin_preserve_access_index(&shared->frags)))
		count = 0;
	for (int i = 0; i < FRAGS; i++) {
		if (i >= count)
			break;
		__u32 length = frags[i].length;
		paged -= length;
		if (frags[i].page & 1) { /* device memory */
			ADD(to[UNSORTED], length);
			continue;
		}
		int kind = provenance(frags[i].page & ~3UL);
		if (kind == OURS)
			ADD(to[OURS], length);
		else if (kind == CACHE)
			ADD(to[CACHE], length);
		else if (kind == ANONYMOUS)
			ADD(to[ANONYMOUS], length);
		else
			ADD(to[KERNELS], length);
	}
	ADD(to[UNSORTED], paged);
}

/* Returns whether a bio is direct I/O of a file in the scope: it then belongs to an iomap_dio,
 * whose first field is the kiocb. Any other pointer does not lead to an inode in the scope. */
INLINE int is_direct(struct bio *bio)
{
	struct kiocb *request = 0;
	bpf_probe_read_kernel(&request, sizeof(request), READ(bio, bi_private));
	struct file *file = READ(request, ki_filp);
	return is_our_inode(READ(file, f_inode));
}

/* State of the walk along a chain of bios: the next bio and the bytes in the scope so far. */
struct chain { struct bio *bio; __u64 bytes; };

/* Body of bpf_loop: the verifier of Linux 6.1 would unroll an ordinary loop and exceed its limit. */
static long follow(__u32 turn, struct chain *chain)
{
	struct bio *bio = chain->bio;
	__u32 index = READ(bio, bi_iter.bi_idx);
	unsigned long *pages = (void *)READ(bio, bi_io_vec), page = 0;
	bpf_probe_read_kernel(&page, sizeof(page), pages + 2 * (index & 0xffff));
	int kind = provenance(page);
	/* A split bio is a chain, linked by bi_private. */
	if (kind == OURS ||
	    (kind != CACHE && (is_direct(bio) || is_direct(READ(bio, bi_private)))))
		chain->bytes += READ(bio, bi_iter.bi_size);
	chain->bio = READ(bio, bi_next);
	return chain->bio == 0;
}

/* Returns the number of bytes of a request that belong to files in the scope. */
INLINE __u64 bytes_of_ours(struct request *request)
{
	struct chain chain = { READ(request, bio), 0 };
	if (chain.bio)
		bpf_loop(BIOS, follow, &chain, 0);
	return chain.bytes;
}

/* Returns the operation of a request: 0 read, 1 write, other values for other operations. */
INLINE __u32 operation(struct request *request)
{
	return READ(request, cmd_flags) & 0xff;
}

#endif
