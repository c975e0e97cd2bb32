//! The exercises in the order of the chapters.

use crate::language::msg;

/// An exercise.
#[derive(Clone, Copy, Debug)]
pub struct Exercise {
    /// The chapter, in English.
    pub chapter: &'static str,
    /// The question, in English; its answer is a number.
    pub question: &'static str,
    /// Number of the claim whose evidence contains the answer.
    pub claim: u8,
    /// Name of the figure.
    pub figure: &'static str,
    /// The explanation, in English.
    pub reason: &'static str,
}

/// Chapters.
const LAYERS: &str = msg!("layers");
const MODELS: &str = msg!("I/O models");
const MULTIPLEXING: &str = msg!("select and poll");
const EPOLL: &str = msg!("epoll");
const SIGNALS: &str = msg!("signal-driven I/O");
const ZERO_COPY: &str = msg!("zero copy");

/// Every exercise.
pub const EXERCISES: &[Exercise] = &[
    Exercise {
        chapter: LAYERS,
        question: msg!(
            "A program reads the clock 1,000 times. How many system calls does that take?"
        ),
        claim: 1,
        figure: "system calls",
        reason: msg!(
            "the kernel keeps the time in a page that every process can read (vDSO), so the C library needs no system call; with a clock source that only the kernel can read, each read is a call"
        ),
    },
    Exercise {
        chapter: MODELS,
        question: msg!(
            "One thread reads from two sockets, blocking, one after the other. The first stays silent, the second sends a byte. How many responses does the second get?"
        ),
        claim: 3,
        figure: "responses with one thread",
        reason: msg!(
            "the thread sleeps in the read of the first socket; data on another socket does not wake it"
        ),
    },
    Exercise {
        chapter: MODELS,
        question: msg!(
            "The same with two threads, one for each socket. How many responses does the second socket get?"
        ),
        claim: 3,
        figure: "responses with two threads",
        reason: msg!("the second thread sleeps on the second socket and is woken by its data"),
    },
    Exercise {
        chapter: MODELS,
        question: msg!(
            "A receiver takes 1,048,576 bytes from a TCP socket with recv and MSG_TRUNC. How many of them does the CPU copy to the receiver?"
        ),
        claim: 2,
        figure: "copied by recv with MSG_TRUNC",
        reason: msg!(
            "with MSG_TRUNC, TCP discards the bytes in the kernel; a plain recv would copy all of them"
        ),
    },
    Exercise {
        chapter: MULTIPLEXING,
        question: msg!(
            "select waits for 100 descriptors, and one is ready. How many bits are set in the set when it returns?"
        ),
        claim: 5,
        figure: "bits set afterwards",
        reason: msg!(
            "the result overwrites the request, so the program must build the set again before each call"
        ),
    },
    Exercise {
        chapter: MULTIPLEXING,
        question: msg!(
            "Descriptor 3,000 is ready, and select gets a bitmap of that size instead of glibc's fd_set. How many descriptors does it report?"
        ),
        claim: 7,
        figure: "reported",
        reason: msg!(
            "1,024 is the size of glibc's fd_set; the kernel takes any size up to the descriptor table"
        ),
    },
    Exercise {
        chapter: EPOLL,
        question: msg!(
            "3 descriptors are registered with epoll, and one of them is registered again. How many entries does the instance have?"
        ),
        claim: 12,
        figure: "entries in fdinfo",
        reason: msg!("the instance is a set: the second registration fails with EEXIST"),
    },
    Exercise {
        chapter: EPOLL,
        question: msg!(
            "100 descriptors are registered, and 3 become ready. How many events does epoll_wait report?"
        ),
        claim: 13,
        figure: "reported",
        reason: msg!(
            "a callback queues a descriptor when it becomes ready, and epoll_wait visits only this list"
        ),
    },
    Exercise {
        chapter: EPOLL,
        question: msg!(
            "A pipe has unread data, level-triggered. epoll_wait has reported it once. How many events does the next epoll_wait report?"
        ),
        claim: 17,
        figure: "level, again",
        reason: msg!(
            "a level-triggered item is queued again after each report, as long as it is readable"
        ),
    },
    Exercise {
        chapter: EPOLL,
        question: msg!(
            "The same, edge-triggered. How many events does the next epoll_wait report?"
        ),
        claim: 17,
        figure: "edge, again",
        reason: msg!(
            "an edge-triggered item is queued by a wake-up only, and none has happened since"
        ),
    },
    Exercise {
        chapter: EPOLL,
        question: msg!(
            "Still unread and edge-triggered, another byte is written to the pipe. How many events does epoll_wait report?"
        ),
        claim: 17,
        figure: "edge, after another write",
        reason: msg!("each write wakes the waiters of the pipe, whether or not it was empty"),
    },
    Exercise {
        chapter: EPOLL,
        question: msg!(
            "3 bytes are written to a pipe, edge-triggered. The program reads one and waits again. How many bytes can it still read later?"
        ),
        claim: 19,
        figure: "read later",
        reason: msg!(
            "edge-triggered epoll loses no data; the bytes stay in the pipe, only the wake-up is missed"
        ),
    },
    Exercise {
        chapter: SIGNALS,
        question: msg!(
            "A process waits for 8 wake-ups with signal-driven I/O. How many signals does the process itself send?"
        ),
        claim: 21,
        figure: "signals sent by the process",
        reason: msg!("the kernel sends the signal to the process, which only receives it"),
    },
    Exercise {
        chapter: ZERO_COPY,
        question: msg!(
            "A program reads 4,096 bytes of a file, another writes new ones over them, and the first reads again into the same buffer. How many new bytes does it get?"
        ),
        claim: 23,
        figure: "new bytes in the second read",
        reason: msg!("read(2) always copies from the page cache, never from memory of the process"),
    },
    Exercise {
        chapter: ZERO_COPY,
        question: msg!(
            "1 MiB is sent with read and write in chunks of 64 KiB. How many bytes does the CPU copy before the receiver?"
        ),
        claim: 24,
        figure: "bytes copied before the receiver",
        reason: msg!(
            "one copy from the page cache into the buffer, and one from the buffer into the socket"
        ),
    },
    Exercise {
        chapter: ZERO_COPY,
        question: msg!(
            "1 MiB is sent with mmap and write in chunks of 64 KiB. How many bytes does the CPU copy before the receiver?"
        ),
        claim: 26,
        figure: "bytes copied before the receiver",
        reason: msg!(
            "the mapping replaces the first copy by page faults; write still copies into the socket"
        ),
    },
    Exercise {
        chapter: ZERO_COPY,
        question: msg!(
            "How many system calls move the data of 1 MiB by splice through a pipe of 64 KiB?"
        ),
        claim: 41,
        figure: "calls of splice, pipe of 64 KiB",
        reason: msg!("16 chunks, and two calls for each: one into the pipe and one out of it"),
    },
    Exercise {
        chapter: ZERO_COPY,
        question: msg!(
            "1 MiB is sent by sendfile over a device without scatter-gather. How many bytes does the CPU copy before the receiver?"
        ),
        claim: 30,
        figure: "sendfile: without SG",
        reason: msg!(
            "a packet needs contiguous memory there, so the kernel copies the pages; with scatter-gather it copies none"
        ),
    },
    Exercise {
        chapter: ZERO_COPY,
        question: msg!(
            "A file of 5 KiB is mapped, and all of it is sent. How many pages of 4 KiB does the page cache hold for it?"
        ),
        claim: 27,
        figure: "pages by mmap",
        reason: msg!("the page cache consists of whole pages; read would occupy as many"),
    },
    Exercise {
        chapter: ZERO_COPY,
        question: msg!(
            "A file of 64 pages is mapped privately, and 32 pages are written. How many pages of the file have changed?"
        ),
        claim: 34,
        figure: "pages of the file changed",
        reason: msg!(
            "each first write copies its page (copy-on-write); the file and the other pages stay shared"
        ),
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Claim;

    #[test]
    fn exercises_have_different_questions_and_known_claims() {
        assert_eq!(EXERCISES.len(), 20);
        for (place, exercise) in EXERCISES.iter().enumerate() {
            assert_eq!(exercise.number(), place + 1, "{}", exercise.question);
            assert!(Claim::all().iter().any(|claim| claim.number == exercise.claim));
        }
    }
}
