//! The process's one SIGSEGV handler: asks the tracker first, hands everything else to whoever was there before.
//!
//! The handler runs anywhere, so it may not allocate, lock, format or panic, and leaves errno as it found it. It runs with
//! every signal blocked, so a fault is served in bounded time; before the previous handler runs, the mask is set to
//! what that one asked for. It is installed once and stays. A program that installs its own afterwards must chain, too.

use crate::base::{Error, Result};
use std::{
    ffi::c_void,
    mem::{MaybeUninit, transmute},
    ptr,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicPtr, Ordering},
    },
};

/// `si_code` of a fault at a page that is mapped, but not for this access.
const SEGV_ACCERR: i32 = 2;

/// Serves the fault at an address, or says that it is not its own. Called in the signal handler.
pub type OnFault = fn(u64) -> bool;

static ON_FAULT: OnceLock<OnFault> = OnceLock::new();
/// What SIGSEGV did before; leaked, never null once the handler is installed.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());
static INSTALLING: Mutex<bool> = Mutex::new(false);

/// Installs the handler with `on_fault`. Later calls do nothing.
///
/// # Errors
/// If the operating system refuses.
pub fn install(on_fault: OnFault) -> Result<()> {
    let mut installed = INSTALLING.lock().unwrap_or_else(|poison| poison.into_inner());
    if *installed {
        return Ok(());
    }
    ON_FAULT.get_or_init(|| on_fault);
    // The previous action is known before the first fault can come in.
    remember(exchange(None)?);
    remember(exchange(Some(&ours()))?);
    *installed = true;
    Ok(())
}

fn remember(action: libc::sigaction) {
    // Release pairs with the Acquire in `chain`: the handler sees the whole action. A replaced one is leaked, because a
    // handler may be reading it.
    PREVIOUS.store(Box::into_raw(Box::new(action)), Ordering::Release);
}

fn ours() -> libc::sigaction {
    // SAFETY: `sigaction` is a plain C struct, for which zeroes are valid.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = on_signal as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: the mask is ours to write.
    unsafe { libc::sigfillset(&raw mut action.sa_mask) };
    action
}

/// Sets the action of SIGSEGV, if one is given; gives the one before.
fn exchange(new: Option<&libc::sigaction>) -> Result<libc::sigaction> {
    let mut old = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: both pointers are null or point to a sigaction, and a handler that is set here is `on_signal`, which is
    // fit to run as one.
    let refused = unsafe { libc::sigaction(libc::SIGSEGV, new.map_or(ptr::null(), ptr::from_ref), old.as_mut_ptr()) };
    if refused != 0 {
        return Err(Error::last_os("sigaction SIGSEGV"));
    }
    // SAFETY: the call succeeded, so it has written the action (which is valid as zeroes, too).
    Ok(unsafe { old.assume_init() })
}

extern "C" fn on_signal(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: errno's address is valid in every thread.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above; this thread alone uses it.
    let saved = unsafe { *errno };
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo, and for a SIGSEGV it is one with a fault address.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as u64) };
    let served = code == SEGV_ACCERR && ON_FAULT.get().is_some_and(|on_fault| on_fault(address));
    if !served {
        // SAFETY: these are the arguments of this very signal.
        unsafe { chain(signal, info, context) };
    }
    // SAFETY: as above.
    unsafe { *errno = saved };
}

/// Does what SIGSEGV did before strewn.
///
/// # Safety
/// The arguments are those of the signal that is being handled.
unsafe fn chain(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: `install` stores a leaked action before it installs the handler, and none is ever freed.
    let previous = unsafe { &*PREVIOUS.load(Ordering::Acquire) };
    // SAFETY: the caller passes the signal's own siginfo.
    let sent_by_process = unsafe { (*info).si_code } <= 0;
    match previous.sa_sigaction {
        libc::SIG_IGN if sent_by_process => (),
        libc::SIG_DFL | libc::SIG_IGN => default_action(signal, sent_by_process),
        handler => {
            // SAFETY: with SA_SIGINFO the context is this thread's ucontext.
            unsafe { set_mask_for(previous, signal, context) };
            if previous.sa_flags & libc::SA_SIGINFO != 0 {
                // SAFETY: whoever registered this address with SA_SIGINFO said that it is such a function.
                let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void) = unsafe { transmute(handler) };
                handler(signal, info, context);
            } else {
                // SAFETY: whoever registered this address without SA_SIGINFO said that it is such a function.
                let handler: extern "C" fn(i32) = unsafe { transmute(handler) };
                handler(signal);
            }
        }
    }
}

/// Lets the default action happen once this handler returns: the fault comes again, and a sent signal is sent again.
fn default_action(signal: i32, sent_by_process: bool) {
    // SAFETY: `sigaction` is a plain C struct; zeroes are SIG_DFL with an empty mask.
    let action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the action is valid and outlives the call; both calls are safe in a signal handler.
    unsafe {
        libc::sigaction(signal, &raw const action, ptr::null_mut());
        if sent_by_process {
            libc::raise(signal);
        }
    }
}

/// Blocks what the kernel would have blocked for `previous`. Returning from the signal restores the thread's own mask.
///
/// # Safety
/// `context` is the ucontext of the signal that is being handled.
unsafe fn set_mask_for(previous: &libc::sigaction, signal: i32, context: *mut c_void) {
    // SAFETY: by this function's contract.
    let mut mask = unsafe { (*context.cast::<libc::ucontext_t>()).uc_sigmask };
    // SAFETY: all masks are valid and ours or borrowed; every call is safe in a signal handler.
    unsafe {
        for number in 1..=64 {
            if libc::sigismember(&raw const previous.sa_mask, number) == 1 {
                libc::sigaddset(&raw mut mask, number);
            }
        }
        if previous.sa_flags & libc::SA_NODEFER == 0 {
            libc::sigaddset(&raw mut mask, signal);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const mask, ptr::null_mut());
    }
}
