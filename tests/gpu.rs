//! The executor runs small hand-written programs as promised, on every adapter there is.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use common::on_every_adapter;
use iresnet::error::Error;
use iresnet::gpu::{Gpu, Memory, Session, Tuning, block_on};
use iresnet::graph::Scope;
use iresnet::plan::program::{Binding, Buffer, BufferKind, Command, Kernel, Program, Suits, Variant};
use iresnet::shape::Shape;

/// Invocations of a workgroup of the test kernels.
const SIZE: u32 = 64;

/// A kernel over `len` elements with `body` on `index`; inputs `a`, `b`, …, the output `out`.
fn kernel(label: &str, inputs: usize, len: usize, body: &str) -> Kernel {
    let names = ["a", "b", "c"];
    let mut source = String::new();
    for (number, name) in names[..inputs].iter().enumerate() {
        source += &format!("@group(0) @binding({number}) var<storage, read> {name}: array<f32>;\n");
    }
    source += &format!("@group(0) @binding({inputs}) var<storage, read_write> out: array<f32>;\n");
    source += &format!(
        "@compute @workgroup_size({SIZE})
        fn main(
            @builtin(workgroup_id) workgroup: vec3<u32>,
            @builtin(num_workgroups) workgroups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32,
        ) {{
            let index = grid_group(workgroup, workgroups) * {SIZE}u + lane;
            if (index < {len}u) {{ {body} }}
        }}\n"
    );
    source += include_str!("../shaders/lib/grid.wgsl");
    Kernel {
        label: label.into(),
        family: label.into(),
        inputs,
        outputs: 1,
        variants: vec![variant("only", &source, len)],
        flops: len as u64,
        traffic: 4 * (inputs as u64 + 1) * len as u64,
    }
}

fn variant(name: &str, source: &str, len: usize) -> Variant {
    Variant {
        name: name.into(),
        source: Arc::from(source),
        groups: (len as u32).div_ceil(SIZE),
        workgroup_size: SIZE,
        workgroup_bytes: 0,
        suits: Suits::Any,
    }
}

fn external(name: &str, len: usize) -> Buffer {
    Buffer { label: name.into(), bytes: 4 * len as u64, kind: BufferKind::External(name.into()) }
}

fn scratch(name: &str, len: usize) -> Buffer {
    Buffer { label: name.into(), bytes: 4 * len as u64, kind: BufferKind::Scratch }
}

fn constant(name: &str, data: &[f32]) -> Buffer {
    Buffer { label: name.into(), bytes: 4 * data.len() as u64, kind: BufferKind::Constant(data.into()) }
}

fn dispatch(program: &Program, kernel: usize, buffers: &[usize]) -> Command {
    let bindings = buffers.iter().map(|&buffer| all(program, buffer)).collect();
    Command::Dispatch { kernel, bindings, scope: Scope::default() }
}

fn all(program: &Program, buffer: usize) -> Binding {
    Binding { buffer, offset: 0, bytes: program.buffers[buffer].bytes }
}

fn program(buffers: Vec<Buffer>, kernels: Vec<Kernel>, commands: &[(usize, &[usize])]) -> Program {
    let mut program = Program { name: "test".into(), buffers, kernels, commands: Vec::new() };
    program.commands = commands.iter().map(|(kernel, buffers)| dispatch(&program, *kernel, buffers)).collect();
    program
}

fn bind(gpu: &Gpu, program: &Program, memory: &Memory) -> Session {
    block_on(Session::bind(gpu, program, memory, &mut Tuning::first())).unwrap()
}

fn read(memory: &Memory, name: &str) -> Vec<f32> {
    block_on(memory.read(name)).unwrap()
}

fn ramp(len: usize) -> Vec<f32> {
    (0..len).map(|index| index as f32).collect()
}

fn memory(gpu: &Gpu, tensors: &[(&str, usize)]) -> Memory {
    let mut memory = Memory::new(gpu);
    for (name, len) in tensors {
        memory.alloc(name, [*len]).unwrap();
    }
    memory
}

/// The message of the panic that `action` must raise.
fn panic_of<T>(action: impl FnOnce() -> T) -> String {
    let panic = catch_unwind(AssertUnwindSafe(action)).err().expect("it should panic");
    panic.downcast_ref::<String>().cloned().or(panic.downcast_ref::<&str>().map(|text| text.to_string())).unwrap()
}

#[test]
fn elementwise_sum_twice_with_the_same_bits() {
    on_every_adapter(|gpu| {
        let len = 1000;
        let memory = memory(gpu, &[("x", len), ("y", len), ("z", len)]);
        assert_eq!(read(&memory, "z"), vec![0.0; len], "new memory is zero");
        let x: Vec<f32> = ramp(len).iter().map(|v| (v * 0.37).sin()).collect();
        let y: Vec<f32> = ramp(len).iter().map(|v| (v * 1.7).cos()).collect();
        memory.write("x", &x);
        memory.write("y", &y);
        let buffers = vec![external("x", len), external("y", len), scratch("s", len), external("z", len)];
        let kernels = vec![
            kernel("add", 2, len, "out[index] = a[index] + b[index];"),
            kernel("twice", 1, len, "out[index] = 2.0 * a[index];"),
        ];
        let session = bind(gpu, &program(buffers, kernels, &[(0, &[0, 1, 2]), (1, &[2, 3])]), &memory);
        assert_eq!((session.scratch_bytes(), session.dispatches()), (4 * len as u64, 2));
        session.run();
        let first = read(&memory, "z");
        for index in 0..len {
            assert_eq!(first[index], 2.0 * (x[index] + y[index]), "element {index}");
        }
        session.run();
        let second = read(&memory, "z");
        assert!(first.iter().zip(&second).all(|(a, b)| a.to_bits() == b.to_bits()));
    });
}

#[test]
fn more_groups_than_an_axis_holds_each_exactly_once() {
    on_every_adapter(|gpu| {
        // One workgroup an element; each adds to what is there, so that a workgroup run twice would show.
        let len = 65_535 + 17;
        let memory = memory(gpu, &[("x", len)]);
        let mut kernel = kernel("increment", 0, len * SIZE as usize, "if (lane == 0u) { out[index / 64u] += 1.0; }");
        let whole = program(vec![external("x", len)], vec![kernel.clone()], &[(0, &[0])]);
        let session = bind(gpu, &whole, &memory);
        assert_eq!(session.dispatches(), 2, "a full row, and the rest");
        session.run();
        assert_eq!(read(&memory, "x"), vec![1.0; len]);

        // The same, thought to take 10 s: cut into many dispatches.
        kernel.flops = if gpu.info().is_software { 30_000_000_000 } else { 10_000_000_000_000 };
        let long = bind(gpu, &program(vec![external("x", len)], vec![kernel], &[(0, &[0])]), &memory);
        assert!((100..300).contains(&long.dispatches()), "{} dispatches", long.dispatches());
        long.run();
        assert_eq!(read(&memory, "x"), vec![2.0; len]);
    });
}

#[test]
fn copies_between_and_within_buffers() {
    on_every_adapter(|gpu| {
        let mut memory = memory(gpu, &[("x", 200), ("y", 200)]);
        memory.write("x", &ramp(200));
        let part = |buffer, first: u64, len: u64| Binding { buffer, offset: 4 * first, bytes: 4 * len };
        let mut program = program(vec![external("x", 200), external("y", 200)], Vec::new(), &[]);
        program.commands = vec![
            Command::Copy { from: part(0, 7, 50), to: part(1, 3, 50) },
            Command::Copy { from: part(1, 3, 10), to: part(1, 100, 10) },
        ];
        bind(gpu, &program, &memory).run();
        let y = read(&memory, "y");
        assert_eq!(y[3..53], ramp(200)[7..57]);
        assert_eq!(y[100..110], ramp(200)[7..17]);
        assert_eq!(y.iter().filter(|value| **value != 0.0).count(), 60);

        memory.copy("x", "y");
        assert_eq!(read(&memory, "y"), ramp(200));
        memory.bucket("both", &[("p", Shape::new([3])), ("q", Shape::new([3]))]).unwrap();
        memory.write("p", &[1.0, 2.0, 3.0]);
        memory.copy("p", "q");
        assert_eq!(read(&memory, "q"), [1.0, 2.0, 3.0]);
    });
}

#[test]
fn buckets_are_tensors_and_their_slices_too() {
    on_every_adapter(|gpu| {
        let mut memory = Memory::new(gpu);
        memory.bucket("all", &[("w", Shape::new([2, 3])), ("b", Shape::new([65])), ("s", Shape::scalar())]).unwrap();
        assert_eq!(memory.names(), ["all", "b", "s", "w"]);
        assert_eq!(memory.len("all"), 64 + 128 + 64, "each slice is padded to 256 bytes");
        assert_eq!(memory.shape("w"), &Shape::new([2, 3]));
        memory.write("w", &[1.0; 6]);
        memory.write("b", &[2.0; 65]);
        memory.write("s", &[3.0]);
        let mut expected = vec![0.0; 256];
        expected[..6].fill(1.0);
        expected[64..129].fill(2.0);
        expected[192] = 3.0;
        assert_eq!(read(&memory, "all"), expected);

        // A kernel over the whole, and one over a slice in place.
        memory.alloc("sum", [256]).unwrap();
        let twice = kernel("twice", 1, 256, "out[index] = 2.0 * a[index];");
        let buffers = vec![external("all", 256), external("sum", 256)];
        bind(gpu, &program(buffers, vec![twice], &[(0, &[0, 1])]), &memory).run();
        assert_eq!(read(&memory, "sum")[129..193], [vec![0.0; 63], vec![6.0]].concat());
        let negate = kernel("negate", 0, 65, "out[index] = -out[index];");
        bind(gpu, &program(vec![external("b", 65)], vec![negate], &[(0, &[0])]), &memory).run();
        expected[64..129].fill(-2.0);
        assert_eq!(read(&memory, "all"), expected);

        // Reading one slice and writing another is an error in WebGPU, and a panic with names here.
        let add = kernel("move", 1, 1, "out[index] = a[index];");
        let clash = program(vec![external("w", 6), external("b", 65)], vec![add], &[(0, &[0, 1])]);
        let message = panic_of(|| bind(gpu, &clash, &memory));
        assert!(message.contains("`move`") && message.contains("`w`") && message.contains("`b`"), "{message}");
    });
}

/// A loop that counts its rounds in `count` and sets its flag to `limit - count` after each.
fn counting(flag: &str, rounds: u32) -> Program {
    let kernels = vec![kernel("count", 0, 1, "out[index] += 1.0;"), kernel("flag", 1, 1, flag)];
    let mut program = program(vec![external("count", 1), external("flag", 1)], kernels, &[]);
    let body = vec![dispatch(&program, 0, &[0]), dispatch(&program, 1, &[0, 1])];
    program.commands = vec![Command::Loop { body, limit: rounds, flag: all(&program, 1) }];
    program
}

#[test]
fn loops_stop_after_exactly_the_right_round() {
    on_every_adapter(|gpu| {
        let memory = memory(gpu, &[("count", 1), ("flag", 1)]);
        let rounds = |flag: &str, limit: u32| {
            memory.write("count", &[0.0]);
            let session = bind(gpu, &counting(flag, limit), &memory);
            session.run();
            let first = read(&memory, "count")[0];
            session.run();
            assert!(read(&memory, "count")[0] >= first + 1.0, "a second run starts the loop anew");
            first
        };
        assert_eq!(rounds("out[index] = 7.0 - a[index];", 100), 7.0, "converges");
        assert_eq!(rounds("out[index] = 1.0;", 25), 25.0, "to the limit");
        assert_eq!(rounds("out[index] = 1.0;", 1), 1.0);
        assert_eq!(rounds("out[index] = 0.0;", 9), 1.0, "the first round always runs");
        assert_eq!(rounds("out[index] = -1.0;", 9), 1.0);
        assert_eq!(rounds("out[index] = -0.0 * a[index];", 9), 1.0, "minus zero is not greater than zero");
        let nan = "out[index] = bitcast<f32>(select(0x3f800000u, 0x7fc00000u, a[index] >= 3.0));";
        assert_eq!(rounds(nan, 100), 3.0, "NaN stops");
        let infinity = "out[index] = bitcast<f32>(select(0u, 0x7f800000u, a[index] < 4.0));";
        assert_eq!(rounds(infinity, 100), 4.0, "infinity goes on");
    });
}

#[test]
fn loops_over_many_submissions_with_copies_and_folded_groups() {
    on_every_adapter(|gpu| {
        // The body has a kernel of more groups than an axis holds, thought to take 60 ms, and a copy.
        let len = 65_535 + 5;
        let memory = memory(gpu, &[("x", len), ("y", len), ("flag", 1)]);
        let mut add = kernel("increment", 0, len * SIZE as usize, "if (lane == 0u) { out[index / 64u] += 1.0; }");
        add.flops = if gpu.info().is_software { 180_000_000 } else { 60_000_000_000 };
        let flag = kernel("flag", 1, 1, "out[index] = 5.0 - a[65539];");
        let buffers = vec![external("x", len), external("y", len), external("flag", 1)];
        let mut program = program(buffers, vec![add, flag], &[]);
        let copy = Command::Copy { from: all(&program, 0), to: all(&program, 1) };
        let body = vec![dispatch(&program, 0, &[0]), copy, dispatch(&program, 1, &[1, 2])];
        program.commands = vec![Command::Loop { body, limit: 12, flag: all(&program, 2) }];
        bind(gpu, &program, &memory).run();
        assert_eq!(read(&memory, "x"), vec![5.0; len]);
        assert_eq!(read(&memory, "y"), vec![5.0; len]);
    });
}

#[test]
fn constants_and_offsets() {
    on_every_adapter(|gpu| {
        let memory = memory(gpu, &[("z", 64)]);
        let add = kernel("add", 2, 64, "out[index] = a[index] - b[index];");
        let mut program = program(vec![constant("c", &ramp(192)), external("z", 64)], vec![add], &[]);
        let slice = |first: u64| Binding { buffer: 0, offset: 4 * first, bytes: 256 };
        let bindings = vec![slice(128), slice(64), all(&program, 1)];
        program.commands = vec![Command::Dispatch { kernel: 0, bindings, scope: Scope::default() }];
        bind(gpu, &program, &memory).run();
        assert_eq!(read(&memory, "z"), vec![64.0; 64]);
    });
}

#[test]
fn reads_are_pipelined() {
    on_every_adapter(|gpu| {
        let memory = memory(gpu, &[("count", 1)]);
        let kernels = vec![kernel("count", 0, 1, "out[index] += 1.0;")];
        let session = bind(gpu, &program(vec![external("count", 1)], kernels, &[(0, &[0])]), &memory);
        let start = |_| {
            session.run();
            memory.start_read("count")
        };
        let reads: Vec<_> = (0..40).map(start).collect();
        // Awaited in the order of their starts, backwards, and together.
        let mut reads = reads.into_iter();
        for step in 1..=10 {
            assert_eq!(block_on(reads.next().unwrap()).unwrap(), [step as f32]);
        }
        for step in (31..=40).rev() {
            assert_eq!(block_on(reads.next_back().unwrap()).unwrap(), [step as f32]);
        }
        let together = block_on(futures::future::join_all(reads));
        let expected = (11..=30).map(|step| vec![step as f32]);
        assert!(together.into_iter().map(Result::unwrap).eq(expected));
    });
}

#[test]
fn wrong_externals_panic() {
    on_every_adapter(|gpu| {
        let memory = memory(gpu, &[("x", 10)]);
        let set = || vec![kernel("set", 0, 10, "out[index] = 1.0;")];
        let missing = program(vec![external("y", 10)], set(), &[(0, &[0])]);
        let message = panic_of(|| bind(gpu, &missing, &memory));
        assert!(message.contains("`y` of 10") && message.contains('x'), "{message}");
        let other = program(vec![external("x", 12)], set(), &[(0, &[0])]);
        let message = panic_of(|| bind(gpu, &other, &memory));
        assert!(message.contains("10 elements") && message.contains("12"), "{message}");
        let message = panic_of(|| memory.write("x", &[0.0; 9]));
        assert!(message.contains("10 elements") && message.contains('9'), "{message}");
    });
}

#[test]
fn a_shader_that_does_not_compile_is_an_error() {
    on_every_adapter(|gpu| {
        let memory = memory(gpu, &[("x", 10)]);
        for body in ["out[index] = nonsense(1.0);", "out[index] = 1u;", "let = 3;"] {
            let kernels = vec![kernel("fine", 0, 10, "out[index] = 1.0;"), kernel("broken 10", 0, 10, body)];
            let program = program(vec![external("x", 10)], kernels, &[(0, &[0]), (1, &[0])]);
            let error = block_on(Session::bind(gpu, &program, &memory, &mut Tuning::first())).err().unwrap();
            let message = error.to_string();
            assert!(matches!(error, Error::Gpu(_)) && message.contains("broken 10"), "{message}");
            assert!(message.contains("error") || message.contains("Error"), "what the compiler said: {message}");
        }
        gpu.check().unwrap();
        assert_eq!(read(&memory, "x"), [0.0; 10], "the device is none the worse");
    });
}

#[test]
fn a_destroyed_device_is_an_error_at_the_next_read() {
    on_every_adapter(|gpu| {
        let mut memory = memory(gpu, &[("x", 100)]);
        let kernels = vec![kernel("set", 0, 100, "out[index] += 1.0;")];
        let session = bind(gpu, &program(vec![external("x", 100)], kernels, &[(0, &[0])]), &memory);
        session.run();
        let under_way = memory.start_read("x");
        gpu.destroy();
        let lost = |error: Error| {
            assert!(error.to_string().contains("device lost") && error.exit_code() == 5, "{error}");
        };
        lost(block_on(under_way).unwrap_err());
        session.run();
        memory.write("x", &[0.0; 100]);
        lost(block_on(memory.read("x")).unwrap_err());
        lost(block_on(gpu.idle()).unwrap_err());
        lost(memory.alloc("y", [10]).unwrap_err());
        lost(block_on(session.profile()).unwrap_err());
    });
}

#[test]
fn what_does_not_fit_is_named() {
    on_every_adapter(|gpu| {
        let mut memory = Memory::new(gpu);
        let limit = gpu.limits().buffer_bytes;
        let len = limit as usize / 4 + 64;
        let message = memory.alloc("activations", [len]).unwrap_err().to_string();
        for part in ["`activations`", &(4 * len).to_string(), &limit.to_string(), "smaller batch"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        let huge = program(vec![scratch("wide", len)], Vec::new(), &[]);
        let message = block_on(Session::bind(gpu, &huge, &memory, &mut Tuning::first())).err().unwrap().to_string();
        assert!(message.contains("`wide`"), "{message}");

        let mut wide = kernel("wide 2048", 0, 10, "out[index] = 1.0;");
        wide.variants[0].workgroup_size = gpu.limits().invocations + 1;
        memory.alloc("x", [10]).unwrap();
        let wide = program(vec![external("x", 10)], vec![wide], &[(0, &[0])]);
        let message = block_on(Session::bind(gpu, &wide, &memory, &mut Tuning::first())).err().unwrap().to_string();
        assert!(message.contains("`wide 2048`") && message.contains("invocations"), "{message}");
    });
}

/// A kernel with a slow, a fast and an oversized variant.
fn tunable(gpu: &Gpu, len: usize) -> Kernel {
    let mut tunable = kernel("tunable 4096", 1, len, "");
    let body = |rounds: u32| {
        let body = format!(
            "var sum = 0.0; for (var i = 0u; i < {rounds}u; i++) {{ sum += a[(index * 7u + i * 13u) % {len}u]; }}
             out[index] = a[index] + min(sum, 0.0);"
        );
        kernel("tunable 4096", 1, len, &body).variants[0].source.clone()
    };
    let variant = |name: &str, rounds: u32| variant(name, &body(rounds), len);
    tunable.variants =
        vec![variant("oversized", 0), variant("slow", 4000), variant("fast", 1), variant("slower", 8000)];
    tunable.variants[0].workgroup_bytes = gpu.limits().workgroup_bytes + 1;
    tunable
}

#[test]
fn tuning_picks_the_fastest_and_remembers() {
    on_every_adapter(|gpu| {
        let len = 4096;
        let memory = memory(gpu, &[("x", len), ("y", len)]);
        memory.write("x", &ramp(len));
        let program = program(vec![external("x", len), external("y", len)], vec![tunable(gpu, len)], &[(0, &[0, 1])]);
        let variant = |tuning: &mut Tuning| {
            let session = block_on(Session::bind(gpu, &program, &memory, tuning)).unwrap();
            let rows = block_on(session.profile()).unwrap();
            assert_eq!((rows.len(), rows[0].calls), (1, 1));
            rows[0].variant.clone()
        };
        assert_eq!(variant(&mut Tuning::first()), "slow", "the first that fits");
        let fixed = [("tunable 4096".to_string(), "slower".to_string())];
        assert_eq!(variant(&mut Tuning::fixed(fixed.clone().into())), "slower");
        let oversized = [("tunable 4096".to_string(), "oversized".to_string())];
        assert_eq!(variant(&mut Tuning::fixed(oversized.into())), "slow");

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/tuning.json");
        let mut tuning = Tuning::open(&path);
        assert_eq!(variant(&mut tuning), "fast");
        assert_eq!(tuning.choices(gpu).get("tunable 4096").map(String::as_str), Some("fast"));
        assert_eq!(read(&memory, "y"), ramp(len), "memory is what the chosen variant made it");

        // Whoever opens the file again believes it, right or wrong.
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(&gpu.info().name) && text.contains("tunable 4096"), "{text}");
        let choice = |name: &str| format!("\"variant\": \"{name}\"");
        let chosen = |name: &str| text.replace(&choice("fast"), &choice(name));
        std::fs::write(&path, chosen("slower")).unwrap();
        assert_eq!(variant(&mut Tuning::open(&path)), "slower");
        // Except for variants that are no more, others that are new since, and damage.
        let before_fast = chosen("slower").replace("\"fast\",", "");
        for damage in [chosen("gone"), before_fast, text[..text.len() / 2].into(), "[]".into()] {
            std::fs::write(&path, damage).unwrap();
            assert_eq!(variant(&mut Tuning::open(&path)), "fast");
            assert!(std::fs::read_to_string(&path).unwrap().contains(&choice("fast")), "written anew");
        }
    });
}

#[test]
fn profiles_count_rounds() {
    on_every_adapter(|gpu| {
        let memory = memory(gpu, &[("count", 1), ("flag", 1)]);
        let session = bind(gpu, &counting("out[index] = 6.0 - a[index];", 50), &memory);
        let rows = block_on(session.profile()).unwrap();
        assert_eq!(read(&memory, "count"), [6.0]);
        assert_eq!(rows.iter().map(|row| row.calls).collect::<Vec<_>>(), [6, 6]);
        assert!(rows.iter().all(|row| row.seconds >= 0.0 && row.seconds < 1.0 && row.flops == 6), "{rows:?}");
    });
}

#[test]
fn peaks_are_plausible() {
    on_every_adapter(|gpu| {
        let peak = block_on(iresnet::gpu::peak(gpu)).unwrap();
        println!("{peak:?}");
        // From an emulator on a busy machine to several times the largest card: beyond, it did no work.
        assert!(peak.gflops > 0.05 && peak.gflops < 1e6, "{peak:?}");
        assert!(peak.copy_gb_per_s > 0.02 && peak.copy_gb_per_s < 1e5, "{peak:?}");
    });
}

/// Native programs drive several devices from several threads, so every handle and future must be able to move.
#[test]
fn handles_and_futures_are_send() {
    fn check<T: Send>(_: &T) {}
    on_every_adapter(|gpu| {
        let memory = Memory::new(gpu);
        let empty = Program::default();
        let mut tuning = Tuning::measured();
        check(gpu);
        check(&memory);
        check(&Gpu::open(None));
        check(&iresnet::gpu::peak(gpu));
        check(&memory.read("x"));
        let bind = Session::bind(gpu, &empty, &memory, &mut tuning);
        check(&bind);
        let session = block_on(bind).unwrap();
        check(&session);
        check(&session.profile());
        session.run();
        block_on(gpu.idle()).unwrap();
    });
}
