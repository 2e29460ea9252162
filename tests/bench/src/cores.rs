//! The proxy that is measured has a core of its own; all else shares the others.

use std::fs;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Outcome;

/// How the cores are shared out.
#[derive(Clone, Debug)]
pub struct Cores {
    /// The core of the proxies.
    pub proxy: usize,
    /// The cores of load, authorization server and services.
    pub others: Vec<usize>,
}

impl Cores {
    /// The first of the cores that this process may use, and the others.
    pub fn of_this_process() -> Outcome<Self> {
        let allowed = sched_getaffinity(None)?;
        let allowed = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
        Self::shared_out(allowed)
    }

    fn shared_out(mut allowed: Vec<usize>) -> Outcome<Self> {
        if allowed.len() < 2 {
            return Err("two cores are needed: on one, the load takes from the proxy what it \
                        measures"
                .into());
        }
        let proxy = allowed.remove(0);
        Ok(Self { proxy, others: allowed })
    }

    /// Has this thread, and what it starts from now on, run on the core of the proxies.
    pub fn to_proxy(&self) -> Outcome<()> {
        pin(&[self.proxy])
    }

    /// Has this thread, and what it starts from now on, run on the other cores.
    pub fn to_others(&self) -> Outcome<()> {
        pin(&self.others)
    }

    /// Checks that every thread of a process runs on this core only.
    pub fn check(pid: u32, core: usize) -> Outcome<()> {
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let status = fs::read_to_string(thread?.path().join("status"))?;
            let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
            if list.map(str::trim) != Some(core.to_string().as_str()) {
                return Err(format!("a thread of process {pid} is not on core {core}").into());
            }
        }
        Ok(())
    }
}

fn pin(cores: &[usize]) -> Outcome<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// What the cores have done so far, in ticks of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Busy {
    busy: u64,
    all: u64,
}

impl Busy {
    /// Of these cores.
    pub fn now(cores: &[usize]) -> Outcome<Self> {
        Ok(Self::read(&fs::read_to_string("/proc/stat")?, cores))
    }

    fn read(stat: &str, cores: &[usize]) -> Self {
        let mut sum = Self::default();
        for core in cores {
            let name = format!("cpu{core}");
            let line = stat.lines().find_map(|line| line.strip_prefix(&name)?.strip_prefix(' '));
            let ticks: Vec<u64> =
                line.unwrap_or_default().split(' ').filter_map(|n| n.parse().ok()).collect();
            // user nice system idle iowait irq softirq steal; guests are counted in user.
            let all: u64 = ticks.iter().take(8).sum();
            sum.all += all;
            sum.busy += all - ticks.iter().skip(3).take(2).sum::<u64>();
        }
        sum
    }

    /// The part of the time since then in which they were busy.
    pub fn since(self, before: Self) -> f64 {
        (self.busy - before.busy) as f64 / (self.all - before.all).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_core_is_refused() {
        assert!(Cores::shared_out(vec![3]).unwrap_err().to_string().contains("two cores"));
        let cores = Cores::shared_out(vec![1, 4, 5]).expect("three cores");
        assert_eq!((cores.proxy, cores.others), (1, vec![4, 5]));
    }

    #[test]
    fn idle_time_is_not_busy_time() {
        let stat = |user, idle| {
            format!("cpu  9 9 9 9 9 9 9 9 0 0\ncpu1 {user} 0 10 {idle} 5 0 5 0 0 0\ncpu11 1 1 1 1")
        };
        let before = Busy::read(&stat(100, 200), &[1]);
        assert_eq!(before, Busy { busy: 115, all: 320 });
        let busy = Busy::read(&stat(130, 210), &[1]).since(before);
        assert!((busy - 0.75).abs() < 1e-9, "{busy}");
    }

    #[test]
    fn a_pinned_thread_is_seen_to_be_pinned() {
        let Ok(cores) = Cores::of_this_process() else { return };
        std::thread::spawn(move || {
            let set = || sched_getaffinity(None).expect("the cores of this thread");
            cores.to_proxy().expect("a core of ours");
            assert!(set().is_set(cores.proxy) && set().count() == 1);
            cores.to_others().expect("cores of ours");
            assert!(!set().is_set(cores.proxy) && set().count() as usize == cores.others.len());
        })
        .join()
        .expect("what it asserts");
    }
}
