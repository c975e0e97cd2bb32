//! System calls that are made by a handler of `SIGSYS` instead: seccomp(2) with `SECCOMP_RET_TRAP`, Linux 3.5.
//!
//! The filter permits calls from one instruction, with which the handler makes them, and traps the
//! calls of the table from everywhere else. Filter and handler are those of every thread, also of the
//! threads that the C library makes.
//!
//! A thread that blocks `SIGSYS` would be killed by it, and the C library blocks all signals while it makes a thread,
//! and in the threads of POSIX AIO. So rt_sigprocmask(2) is trapped as well, and `SIGSYS` is left out.
//!
//! # Limitations
//!
//! A trapped call costs some microseconds. Signals that the handler of a call would have interrupted are handled
//! within the call, as without the trap.

use libc::{c_int, c_long, c_void, sock_filter, sock_fprog, ucontext_t};
use rustix::io::{self, Errno};
use std::arch::global_asm;
use std::mem;

use super::board;
use super::calls::{CALLS, Length};
use super::plan::Effect;
use super::short::Shortened;
use crate::last_errno;

// karez_faults_call(number, arguments): the calling convention of functions has the fourth argument elsewhere.
global_asm!(
    ".pushsection .text.karez_faults, \"ax\", @progbits",
    ".hidden karez_faults_call",
    ".globl karez_faults_call",
    ".hidden karez_faults_after_call",
    ".globl karez_faults_after_call",
    "karez_faults_call:",
    "mov rax, rdi",
    "mov r11, rsi",
    "mov rdi, [r11]",
    "mov rsi, [r11 + 8]",
    "mov rdx, [r11 + 16]",
    "mov r10, [r11 + 24]",
    "mov r8, [r11 + 32]",
    "mov r9, [r11 + 40]",
    "syscall",
    "karez_faults_after_call:",
    "ret",
    ".popsection",
);

unsafe extern "C" {
    fn karez_faults_call(number: c_long, arguments: *const [u64; 6]) -> i64;
    static karez_faults_after_call: u8;
}

/// Traps the calls of the table in all threads of this process.
pub(super) fn install() -> io::Result<()> {
    handle_signal()?;
    // SAFETY: it has no pointers.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(last_errno());
    }
    let mut filter = filter();
    let program = sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    let (mode, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_TSYNC);
    // SAFETY: the kernel copies the program during the call.
    match unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) } {
        0 => Ok(()),
        ..0 => Err(last_errno()),
        _ => Err(Errno::BUSY), // a thread has another filter
    }
}

fn handle_signal() -> io::Result<()> {
    // SAFETY: a structure of numbers and an optional pointer, for which zeros are valid.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction =
        on_trap as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
    // Not deferred: another handler, which makes a call, may interrupt this one.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_NODEFER;
    // SAFETY: the handler makes no call but through `karez_faults_call`, and takes no lock.
    match unsafe { libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

/// Returns the filter: a program of `struct seccomp_data`, which has number, architecture and instruction.
fn filter() -> Vec<sock_filter> {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const X86_64: u32 = 0xc000_003e; // AUDIT_ARCH_X86_64
    let step = |code, k, jt, jf| sock_filter { code, jt, jf, k };
    let allow = step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0);
    let instruction = (&raw const karez_faults_after_call) as u64;
    let mut filter = vec![
        step(LOAD, 4, 0, 0),
        step(EQUAL, X86_64, 1, 0),
        allow,
        step(LOAD, 8, 0, 0),
        step(EQUAL, instruction as u32, 0, 3),
        step(LOAD, 12, 0, 0),
        step(EQUAL, (instruction >> 32) as u32, 0, 1),
        allow,
        step(LOAD, 0, 0, 0),
    ];
    let numbers: Vec<u32> = CALLS
        .iter()
        .filter_map(|call| call.number)
        .chain([libc::SYS_rt_sigprocmask])
        .filter_map(|number| u32::try_from(number).ok())
        .collect();
    let jumps = numbers.iter().zip((1..=numbers.len() as u8).rev());
    filter.extend(jumps.map(|(&number, distance)| step(EQUAL, number, distance, 0)));
    filter.extend([allow, step(RETURN, libc::SECCOMP_RET_TRAP, 0, 0)]);
    filter
}

extern "C" fn on_trap(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes the registers of this thread, to which nothing else refers.
    let context = unsafe { &mut *context.cast::<ucontext_t>() };
    let registers = &context.uc_mcontext.gregs;
    let value = |register: c_int| registers[register as usize];
    let number = value(libc::REG_RAX);
    let arguments =
        [libc::REG_RDI, libc::REG_RSI, libc::REG_RDX, libc::REG_R10, libc::REG_R8, libc::REG_R9]
            .map(|register| value(register).cast_unsigned());
    let result = match number {
        libc::SYS_rt_sigprocmask => change_mask(context, arguments),
        _ => perform(number, arguments),
    };
    context.uc_mcontext.gregs[libc::REG_RAX as usize] = result;
}

/// Makes a call by the plan.
fn perform(number: c_long, arguments: [u64; 6]) -> i64 {
    let decided = match is_of_allocator(number, arguments) {
        true => None,
        false => decide(number),
    };
    match decided {
        None => call(number, &arguments),
        Some((Effect::Errno(errno), _, _)) => -i64::from(errno),
        Some((Effect::Delay(milliseconds), _, _)) => {
            let time = libc::timespec {
                tv_sec: i64::from(milliseconds / 1000),
                tv_nsec: i64::from(milliseconds % 1000) * 1_000_000,
            };
            call(libc::SYS_nanosleep, &[&raw const time as u64, 0, 0, 0, 0, 0]);
            call(number, &arguments)
        }
        Some((Effect::Short, length, random)) => {
            let mut shortened = Shortened::new(arguments);
            shortened.shorten(length, random);
            let result = call(number, &shortened.arguments);
            shortened.finish();
            result
        }
    }
}

fn decide(number: c_long) -> Option<(Effect, Length, u64)> {
    let position = CALLS.iter().position(|call| call.number == Some(number))?;
    let (effect, random) = board::current()?.decide(position)?;
    Some((effect, CALLS.get(position)?.length, random))
}

/// An allocator aborts the process if the kernel has no memory.
fn is_of_allocator(number: c_long, arguments: [u64; 6]) -> bool {
    number == libc::SYS_mmap && arguments[3] & libc::MAP_ANONYMOUS as u64 != 0
}

fn call(number: c_long, arguments: &[u64; 6]) -> i64 {
    // SAFETY: these are the arguments with which the program makes the call, or with a smaller length.
    unsafe { karez_faults_call(number, arguments) }
}

/// Changes the blocked signals that this thread has when the handler returns.
fn change_mask(context: &mut ucontext_t, arguments: [u64; 6]) -> i64 {
    let mask = (&raw mut context.uc_sigmask).cast::<u64>();
    let (set, old) = (arguments[1] as *const u64, arguments[2] as *mut u64);
    // SAFETY: the kernel's set of signals has 64 bits, and is at the start of that of the C library.
    let before = unsafe { *mask };
    // SAFETY: null, or a set which the caller lets the kernel read.
    let given = unsafe { set.as_ref() }.copied();
    // SAFETY: null, or a set which the caller lets the kernel write.
    if let Some(old) = unsafe { old.as_mut() } {
        *old = before;
    }
    let Some(given) = given else { return 0 };
    let after = match arguments[0] as c_int {
        libc::SIG_BLOCK => before | given,
        libc::SIG_UNBLOCK => before & !given,
        libc::SIG_SETMASK => given,
        _ => return -i64::from(libc::EINVAL),
    };
    // SAFETY: as above.
    unsafe { *mask = after & !(1 << (libc::SIGSYS - 1)) };
    0
}
