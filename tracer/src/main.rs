//! The `tracer` command.
use tracer::{decode::decode, filter::*, kernel::*};
fn main() {
    env_logger::init();
    let t = std::time::Instant::now();
    let mut f = Filter::default();
    if let Some(p) = std::env::args().nth(1) {
        let p: u16 = p.parse().unwrap();
        f.ports.0.push(p..=p);
    }
    let hook = if std::env::args().nth(2).is_some() {
        HookChoice::Classic
    } else {
        HookChoice::Auto
    };
    let mut k = Kernel::load(&Options {
        filter: &f,
        ring_bytes: default_ring_bytes(),
        hook,
        debug_log: false,
    })
    .unwrap_or_else(|e| {
        eprintln!("{e}");
        std::process::exit(1)
    });
    eprintln!("loaded in {:?}", t.elapsed());
    for h in &k.hooks {
        eprintln!("{h:?}");
    }
    eprintln!("{:?}", k.missing);
    for _ in 0..300 {
        k.drain(1000, |b| println!("{:?}", decode(b)));
        k.flush_log();
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    eprintln!("{:?}", k.losses());
}
