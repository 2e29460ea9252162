//! Measures small pieces of work: their time, and by callgrind the instructions that they take,
//! which are the same in every run and on a machine that has other things to do.
//!
//! For the instructions the program starts itself under valgrind, once for each piece, and counts
//! only what runs inside `repeat`: neither the setting up nor the harness.

use std::env;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// How long one round of a timing takes at least.
const ROUND: Duration = Duration::from_millis(10);

/// The rounds of a timing, of which the median counts.
const ROUNDS: usize = 15;

/// How often a piece runs while its instructions are counted.
const COUNTED: u64 = 1_000;

/// A piece of work.
pub struct Piece {
    /// What the table calls it.
    name: &'static str,
    /// Sets it up.
    set_up: Box<dyn Fn() -> Work>,
}

/// A piece of work, set up: each call does it once.
pub type Work = Box<dyn FnMut()>;

impl Piece {
    /// A piece that is set up by a function.
    pub fn new(name: &'static str, set_up: impl Fn() -> Work + 'static) -> Self {
        Self { name, set_up: Box::new(set_up) }
    }
}

/// Measures all pieces whose names contain an argument of the program, or all if it has none, and
/// prints a table. Under `cargo test`, each runs once: that it works is all that is looked at.
pub fn main(pieces: &[Piece]) -> ExitCode {
    let (flags, arguments): (Vec<String>, Vec<String>) =
        env::args().skip(1).partition(|text| text == "--bench");
    if let [mark, name] = arguments.as_slice()
        && mark == "--count"
    {
        for piece in pieces.iter().filter(|piece| piece.name == name) {
            count_me(&mut (piece.set_up)());
        }
        return ExitCode::SUCCESS;
    }
    let asked = |piece: &&Piece| {
        arguments.is_empty() || arguments.iter().any(|part| piece.name.contains(part.as_str()))
    };
    // `cargo bench` says so.
    if flags.is_empty() {
        for Piece { name, set_up } in pieces.iter().filter(asked) {
            println!("{name}");
            set_up()();
        }
        return ExitCode::SUCCESS;
    }
    let has_valgrind = Command::new("valgrind").arg("--version").output().is_ok();
    if !has_valgrind {
        eprintln!(
            "no valgrind, so instructions are not counted (Debian: apt-get install valgrind)"
        );
    }
    println!("| piece of work | instructions | time | spread |");
    println!("| --- | --: | --: | --: |");
    for Piece { name, set_up } in pieces.iter().filter(asked) {
        let counted = has_valgrind.then(|| instructions(name));
        let counted = match counted {
            None => "–".to_owned(),
            Some(Ok(count)) => with_commas(count),
            Some(Err(error)) => {
                eprintln!("{name}: {error}");
                return ExitCode::FAILURE;
            }
        };
        let (median, spread) = time(&mut set_up());
        println!("| {name} | {counted} | {median} ns | ±{spread} % |");
    }
    ExitCode::SUCCESS
}

/// Does the work many times. What is counted is what runs inside.
#[inline(never)]
fn repeat(work: &mut Work, times: u64) {
    for _ in 0..times {
        work();
    }
}

/// Does the work without being counted, as the first time may differ.
#[inline(never)]
fn warm_up(work: &mut Work, times: u64) {
    for _ in 0..times {
        std::hint::black_box(&mut *work)();
    }
}

/// Does what valgrind counts.
fn count_me(work: &mut Work) {
    warm_up(work, 10);
    repeat(work, COUNTED);
}

/// The instructions that a piece takes.
fn instructions(name: &str) -> Result<u64, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no", "--toggle-collect=*micro*repeat*"])
        .arg(program)
        .args(["--count", name])
        .output()
        .map_err(|error| error.to_string())?;
    let log = String::from_utf8_lossy(&output.stderr);
    let collected = log.lines().find_map(|line| line.split_once("Collected : "));
    match collected.and_then(|(_, count)| count.trim().parse::<u64>().ok()) {
        Some(count) if output.status.success() && count > 0 => Ok(count / COUNTED),
        _ => Err(format!("callgrind counted nothing:\n{log}")),
    }
}

/// The median time in nanoseconds, and how far the middle half of all rounds is from it in percent.
fn time(work: &mut Work) -> (u128, u128) {
    let mut times = 1;
    while elapsed(work, times) < ROUND {
        times *= 2;
    }
    let mut rounds: Vec<u128> =
        (0..ROUNDS).map(|_| elapsed(work, times).as_nanos() * 10 / u128::from(times)).collect();
    rounds.sort_unstable();
    let median = rounds[ROUNDS / 2].max(1);
    let half = rounds[ROUNDS * 3 / 4] - rounds[ROUNDS / 4];
    ((median + 5) / 10, (half * 50).div_ceil(median))
}

/// How long it takes to do the work so many times.
fn elapsed(work: &mut Work, times: u64) -> Duration {
    let start = Instant::now();
    repeat(work, times);
    start.elapsed()
}

/// A number as people read it.
fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
