//! How the machine's scheduler treats this process.

use std::io;

/// From now on, threads that this thread starts do not push others off a core when something wakes
/// them: they wait for their turn, and work gathers for them meanwhile. Each stage of a member
/// hands on to the next, so with the usual policy every hand-over cuts the one who hands over
/// short, and batches stay small. `docs/adr/0007-work-gathers.md` has the measurement.
///
/// # Errors
/// What the system said; nothing is changed then, and nothing depends on it.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "one system call that the standard library does not offer")]
pub fn let_work_gather() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call reads one `sched_param` through a pointer that is valid for the whole call,
    // keeps none of it, and writes no memory of ours. Thread 0 is the caller, and SCHED_BATCH asks
    // for no privilege.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Only Linux has such a policy.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn let_work_gather() -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;
    use std::thread;

    use super::let_work_gather;

    /// The policy of the calling thread: field 41 of its `stat`, see proc(5).
    fn policy() -> String {
        let stat = fs::read_to_string("/proc/thread-self/stat").expect("Linux tells");
        let after_name = stat.rsplit_once(')').expect("the name is in brackets").1;
        // The first field after the name is the third.
        after_name.split_whitespace().nth(41 - 3).expect("it has 52 fields").to_owned()
    }

    #[test]
    fn threads_inherit_the_policy() {
        let before_and_after = thread::spawn(|| {
            let before = policy();
            let_work_gather().expect("it asks for no privilege");
            (before, thread::spawn(policy).join().expect("it reads one file"))
        });
        let (before, after) = before_and_after.join().expect("it reads two files");
        assert_eq!((before.as_str(), after.as_str()), ("0", "3"), "SCHED_OTHER, then SCHED_BATCH");
    }
}
