//! Several adapters train as one: the same numbers up to rounding, whoever comes, goes or is short of memory.

mod common;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use iresnet::config::{Config, Estimator, Kind, OptimizerName, PowerUpdate};
use iresnet::error::Result;
use iresnet::gpu::{Adapter, Gpu, Tuning, block_on};
use iresnet::network::PARAMS;
use iresnet::nn::Model;
use iresnet::parallel::{Patience, Peers, Replicas};
use iresnet::random::{Distribution, Key};
use iresnet::train::{GRADS, StepReport, Trainer};

/// Relative error (Euclidean norms) of gradients, and of parameters and losses after ten steps.
const TOLERANCE: f64 = 1e-5;
const STEPS: u64 = 10;
const STEPS_PER_EPOCH: u64 = 100;
const BATCH: usize = 24;

fn config(kind: Kind) -> Config {
    let mut config = Config::default();
    config.model.kind = kind;
    // Small: most of the time goes into compiling kernels, on each adapter for each shape.
    config.model.input = vec![2, 4, 4];
    config.model.blocks = vec![1];
    config.model.strides = vec![1];
    config.model.channels = vec![4];
    config.model.injective_padding = if kind == Kind::Classifier { 2 } else { 0 };
    config.model.classes = 3;
    config.log_det.terms = 2;
    config.data.batch = BATCH;
    // Adam's first steps have the size of the rate whatever the gradient's: a gradient of rounding alone would show.
    config.optimizer.name = OptimizerName::Sgd;
    config.optimizer.lr = 0.01;
    config.optimizer.clip = 1.0;
    config.optimizer.ema = 0.9;
    config
}

/// Samples with labels for a step.
fn batch(config: &Config, step: u64) -> (Vec<f32>, Vec<u32>) {
    let len = config.data.batch * config.model.input.iter().product::<usize>();
    let key = Key::new(11, step as u32, 5);
    let labels = (0..config.data.batch as u32).map(|sample| (sample + step as u32) % 3).collect();
    ((0..len as u32).map(|index| Distribution::Normal.draw(key, index) as f32).collect(), labels)
}

fn replicas(adapters: &[Adapter], config: &Config, pieces: usize) -> Replicas {
    let patience = Patience { retry: Duration::ZERO, ..Patience::default() };
    let mut replicas =
        Replicas::new(adapters, config, STEPS_PER_EPOCH, Tuning::first(), None, pieces, patience).unwrap();
    replicas.initialize(&batch(config, 1000).0).unwrap();
    for (gpu, _) in replicas.shares() {
        println!("on {}", gpu.info());
    }
    replicas
}

fn relative(ours: &[f32], theirs: &[f32]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let square = |sum: f64, x: f64| sum + x * x;
    let difference = ours.iter().zip(theirs).map(|(a, b)| f64::from(a - b)).fold(0.0, square).sqrt();
    difference / theirs.iter().map(|&x| f64::from(x)).fold(0.0, square).sqrt()
}

/// What one adapter alone makes of the steps: gradients of the first, reports, parameters in the end.
struct Alone {
    gradients: Vec<f32>,
    reports: Vec<StepReport>,
    params: Vec<f32>,
}

fn alone(config: &Config) -> Alone {
    let gpu = common::open(&common::adapters()[0]);
    block_on(async {
        let mut trainer = Trainer::new(&gpu, config, STEPS_PER_EPOCH, Tuning::first(), None).await.unwrap();
        trainer.initialize(&batch(config, 1000).0).await.unwrap();
        let (mut gradients, mut reports) = (Vec::new(), Vec::new());
        for step in 0..STEPS {
            let (x, labels) = batch(config, step);
            trainer.step(&x, &labels);
            if step == 0 {
                gradients = trainer.network().memory().read(GRADS).await.unwrap();
            }
            reports.extend(trainer.report(true).await.unwrap());
        }
        let params = trainer.network().memory().read(PARAMS).await.unwrap();
        Alone { gradients, reports, params }
    })
}

#[track_caller]
fn assert_same(replicas: &Replicas, reports: &[StepReport], alone: &Alone) {
    assert_eq!(reports.len(), alone.reports.len(), "no step is lost");
    for (ours, theirs) in reports.iter().zip(&alone.reports) {
        let error = f64::from((ours.loss - theirs.loss).abs()) / f64::from(theirs.loss.abs());
        assert!(error <= TOLERANCE, "step {}: loss {} instead of {}", ours.step, ours.loss, theirs.loss);
        assert_eq!((ours.step, ours.learning_rate), (theirs.step, theirs.learning_rate));
        assert_eq!(ours.accuracy, theirs.accuracy, "step {}", ours.step);
        assert_eq!(ours.bits_per_dim.is_some(), theirs.bits_per_dim.is_some());
    }
    let error = relative(&replicas.mirror().params, &alone.params);
    assert!(error <= TOLERANCE, "parameters after {STEPS} steps: relative error {error:e}");
}

/// Ten steps, with `meanwhile` before each.
fn ten_steps(replicas: &mut Replicas, config: &Config, meanwhile: impl Fn(u64, &Replicas)) -> Vec<StepReport> {
    (0..STEPS)
        .map(|step| {
            let (x, labels) = batch(config, step);
            meanwhile(step, replicas);
            replicas.step(&x, &labels).unwrap()
        })
        .collect()
}

fn assert_as_one(config: &Config, pieces: usize) {
    let alone = alone(config);
    let mut replicas = replicas(common::adapters(), config, pieces);
    assert_eq!(replicas.shares().iter().map(|(_, share)| share).sum::<usize>(), BATCH);
    let (x, labels) = batch(config, 0);
    let mut reports = vec![replicas.step(&x, &labels).unwrap()];
    let gradients = block_on(replicas.lead().network().memory().read(GRADS)).unwrap();
    let error = relative(&gradients, &alone.gradients);
    println!("gradients: relative error {error:e}");
    assert!(error <= TOLERANCE, "gradients: relative error {error:e}");
    for step in 1..STEPS {
        let (x, labels) = batch(config, step);
        reports.push(replicas.step(&x, &labels).unwrap());
    }
    assert_same(&replicas, &reports, &alone);
}

#[test]
fn a_classifier_on_all_adapters_is_one_on_one() {
    assert_as_one(&config(Kind::Classifier), 1);
}

#[test]
fn a_density_on_all_adapters_is_one_on_one() {
    let mut config = config(Kind::Density);
    config.log_det.estimator = Estimator::Unbiased;
    config.log_det.gradient = iresnet::config::Gradient::Neumann;
    config.model.power_update = PowerUpdate::After;
    assert_as_one(&config, 1);
}

#[test]
fn a_hybrid_in_pieces_on_all_adapters_is_one_on_one() {
    assert_as_one(&config(Kind::Hybrid), 3);
}

#[test]
fn a_batch_in_pieces_on_one_adapter_is_a_whole_one() {
    for kind in [Kind::Classifier, Kind::Density] {
        let config = config(kind);
        let alone = alone(&config);
        let mut replicas = replicas(&common::adapters()[..1], &config, 4);
        let reports = ten_steps(&mut replicas, &config, |_, _| ());
        assert_same(&replicas, &reports, &alone);
    }
}

/// Bytes of buckets: all in one, some, one for each tensor.
const BUCKETS: [usize; 3] = [1 << 20, 2048, 256];

/// What some steps with buckets of these sizes give: reports, and the bits of all parameters.
fn with_buckets(adapters: &[Adapter], config: &Config, pieces: usize) -> Vec<(Vec<StepReport>, Vec<u32>)> {
    let mut counts = Vec::new();
    let results = BUCKETS.map(|bytes| {
        let mut replicas = replicas(adapters, config, pieces);
        replicas.cut_gradients(bytes).unwrap();
        counts.push(replicas.buckets());
        // So few that shares are not looked at again.
        let steps = (0..4).map(|step| {
            let (x, labels) = batch(config, step);
            replicas.step(&x, &labels).unwrap()
        });
        let reports = steps.collect();
        (reports, replicas.mirror().params.iter().map(|number| number.to_bits()).collect())
    });
    println!("{counts:?} buckets");
    assert!(counts[0] == 1 && counts[1] > 1 && counts[2] > counts[1], "{counts:?}");
    results.into()
}

#[test]
fn buckets_of_all_sizes_give_the_same_bits() {
    let two = vec![common::adapters()[0].clone(); 2];
    for (adapters, pieces) in [(&two[..1], 1), (&two[..1], 3), (&two[..], 1)] {
        for kind in [Kind::Classifier, Kind::Density] {
            let results = with_buckets(adapters, &config(kind), pieces);
            assert!(results.iter().all(|result| *result == results[0]), "{kind:?}, {} devices", adapters.len());
        }
    }
}

/// Destroys device `number` while step 4 is under way: first right before it, then at moments within.
fn lose(number: usize) {
    let config = config(Kind::Classifier);
    let alone = alone(&config);
    let two = &[common::adapters()[0].clone(), common::adapters()[common::adapters().len() - 1].clone()];
    for delay in [Duration::ZERO, Duration::from_millis(2), Duration::from_millis(10)] {
        let mut replicas = replicas(two, &config, 1);
        // Many, so that some are done when it happens.
        replicas.cut_gradients(256).unwrap();
        let reports = ten_steps(&mut replicas, &config, |step, replicas| {
            if step == 4 {
                let gpu = replicas.shares()[number].0.clone();
                std::thread::spawn(move || {
                    std::thread::sleep(delay);
                    gpu.destroy();
                });
            }
        });
        assert_same(&replicas, &reports, &alone);
        let notes = replicas.notes().join("\n");
        assert!(notes.contains("is gone") && notes.contains("destroyed"), "{notes}");
        assert!(notes.contains("is back"), "{notes}");
        assert_eq!(replicas.shares().len(), 2, "{notes}");
    }
}

#[test]
fn the_lead_may_vanish_in_mid_step() {
    lose(0);
}

#[test]
fn another_may_vanish_in_mid_step() {
    lose(1);
}

#[test]
fn without_any_device_the_error_says_so() {
    let config = config(Kind::Toy);
    let config = Config { model: iresnet::config::ModelConfig { input: vec![2], ..config.model }, ..config };
    let mut replicas = replicas(&common::adapters()[..1], &config, 1);
    replicas.shares()[0].0.destroy();
    let (x, labels) = batch(&config, 0);
    let error = replicas.step(&x, &labels).unwrap_err();
    assert!(error.exit_code() == 5 && error.to_string().contains("destroyed"), "{error}");
}

#[test]
fn the_faster_adapter_gets_the_larger_share() {
    let adapters = common::adapters();
    let named = |part: &str| adapters.iter().find(|adapter| adapter.info().name.contains(part));
    let (Some(slow), Some(fast)) = (named("SwiftShader"), named("llvmpipe")) else {
        // Two equal adapters: neither may starve.
        let mut replicas = replicas(&[adapters[0].clone(), adapters[0].clone()], &config(Kind::Classifier), 1);
        ten_steps(&mut replicas, &config(Kind::Classifier), |_, _| ());
        assert!(replicas.shares().iter().all(|(_, share)| *share > 0));
        return;
    };
    let mut config = config(Kind::Classifier);
    config.data.batch = 64;
    config.model.input = vec![2, 16, 16];
    config.model.channels = vec![32];
    let mut replicas = replicas(&[slow.clone(), fast.clone()], &config, 1);
    assert_eq!(replicas.shares().iter().map(|(_, share)| *share).collect::<Vec<_>>(), [32, 32]);
    ten_steps(&mut replicas, &config, |_, _| ());
    println!("{}", replicas.notes().join("\n"));
    let share = |adapter: &Adapter| {
        let shares = replicas.shares();
        shares.iter().find(|(gpu, _)| gpu.info().id == adapter.info().id).map(|(_, share)| *share).unwrap()
    };
    assert!(share(fast) > share(slow), "{} of {}, {} of {}", share(slow), slow.info(), share(fast), fast.info());
}

#[test]
fn a_device_short_of_memory_computes_in_pieces() {
    let Some(adapter) = common::adapters().iter().find(|adapter| adapter.info().backend == "vulkan") else {
        assert_ne!(std::env::consts::OS, "linux", "on Linux there is Vulkan");
        return;
    };
    let mut config = config(Kind::Classifier);
    // Several wide blocks, so that activations are most of it.
    config.model.input = vec![2, 16, 16];
    config.model.blocks = vec![4];
    config.model.channels = vec![16];
    let alone = alone(&config);
    let mut replicas = replicas(std::slice::from_ref(adapter), &config, 1);
    // Room for everything but the activations of a whole batch.
    let gpu = replicas.shares()[0].0.clone();
    let activations = Model::new(&config).unwrap().shard_graph(BATCH, BATCH, iresnet::nn::Probes::Keys);
    let program = iresnet::plan::compile("shard", &activations, &iresnet::network::limits(&gpu)).unwrap();
    gpu.limit_memory(gpu.allocated_bytes().unwrap() + program.scratch_bytes() / 2);
    let reports = ten_steps(&mut replicas, &config, |_, _| ());
    assert_same(&replicas, &reports, &alone);
    let notes = replicas.notes();
    assert_eq!(notes.len(), 1, "said once: {notes:?}");
    assert!(notes[0].contains("in pieces"), "{notes:?}");
}

#[test]
fn an_evaluation_is_the_same_on_several() {
    let config = config(Kind::Hybrid);
    let evaluate = |adapters: &[Adapter]| {
        let mut replicas = replicas(adapters, &config, 1);
        let (x, labels) = batch(&config, 0);
        replicas.step(&x, &labels).unwrap();
        let batches = |n: usize| {
            assert_eq!(n, BATCH);
            (0..5).map(|number| batch(&config, 100 + number)).map(|(x, labels)| (x, labels, BATCH - 1))
        };
        replicas.evaluate(batches, 3).unwrap()
    };
    let (one, many) = (evaluate(&common::adapters()[..1]), evaluate(common::adapters()));
    assert_eq!((one.samples, many.samples), (5 * (BATCH - 1), 5 * (BATCH - 1)));
    assert!((one.loss - many.loss).abs() <= TOLERANCE * one.loss.abs(), "{} and {}", one.loss, many.loss);
    assert_eq!(one.accuracy, many.accuracy);
}

/// Threads that take the place of processes.
#[derive(Debug)]
struct Circle {
    meet: Barrier,
    numbers: Mutex<Vec<Vec<f64>>>,
    bytes: Mutex<Vec<Vec<u8>>>,
}

/// One of them.
#[derive(Debug)]
struct Member {
    circle: Arc<Circle>,
    rank: usize,
    count: usize,
    /// Whether a bit of what it gets from rank 0 is wrong.
    deaf: bool,
    sums: RefCell<Vec<Vec<f64>>>,
    /// A device that goes when the next sum is begun.
    victim: RefCell<Option<Gpu>>,
}

impl Member {
    /// Everybody's, once all have put theirs into `place`.
    fn meet<T: Clone>(&self, place: &Mutex<Vec<T>>, own: T) -> Vec<T> {
        place.lock().unwrap()[self.rank] = own;
        self.circle.meet.wait();
        let all = place.lock().unwrap().clone();
        self.circle.meet.wait();
        all
    }
}

impl Peers for Member {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.count
    }

    fn name(&self, rank: usize) -> String {
        format!("rank {rank}")
    }

    fn machine(&self, _: usize) -> String {
        "this one".into()
    }

    fn begin_sum(&self, numbers: Vec<f64>) -> Result<()> {
        if let Some(gpu) = self.victim.take() {
            gpu.destroy();
        }
        let all = self.meet(&self.circle.numbers, numbers);
        assert!(all.iter().all(|one| one.len() == all[0].len()), "everybody gives as many");
        let sum = (0..all[0].len()).map(|index| all.iter().map(|one| one[index]).sum());
        self.sums.borrow_mut().push(sum.collect());
        Ok(())
    }

    fn end_sums(&self) -> Result<Vec<Vec<f64>>> {
        Ok(self.sums.take())
    }

    fn gather(&self, own: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        Ok(self.meet(&self.circle.bytes, own))
    }

    fn share(&self, of_first: Vec<u8>) -> Result<Vec<u8>> {
        let mut told = self.meet(&self.circle.bytes, of_first).swap_remove(0);
        let len = told.len();
        if self.deaf && len > 1000 {
            told[len / 2] ^= 1;
        }
        Ok(told)
    }

    fn regroup(&self) -> Result<()> {
        unreachable!("nobody is lost")
    }
}

/// Does `work` in as many threads as there are processes; with their results in order.
fn together<T: Send>(count: usize, deaf: Option<usize>, work: impl Fn(Rc<Member>) -> T + Sync) -> Vec<T> {
    let circle = Arc::new(Circle {
        meet: Barrier::new(count),
        numbers: Mutex::new(vec![Vec::new(); count]),
        bytes: Mutex::new(vec![Vec::new(); count]),
    });
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|rank| {
                let (circle, work) = (Arc::clone(&circle), &work);
                let (sums, victim) = Default::default();
                let member = Member { circle, rank, count, deaf: deaf == Some(rank), sums, victim };
                scope.spawn(move || work(Rc::new(member)))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn joined(adapters: &[Adapter], config: &Config, pieces: usize, peers: Rc<dyn Peers>) -> Replicas {
    let patience = Patience { retry: Duration::ZERO, ..Patience::default() };
    let replicas = Replicas::new(adapters, config, STEPS_PER_EPOCH, Tuning::first(), None, pieces, patience).unwrap();
    let mut replicas = replicas.join(peers).unwrap();
    replicas.initialize(&batch(config, 1000).0).unwrap();
    replicas
}

/// The adapter of a process: they have different ones where there are several. Each has a list of its own, as processes do:
/// OpenGL devices from one list share a context, and wgpu panics when one of them waits for it for 6 s.
fn one_each(rank: usize) -> Vec<Adapter> {
    let mut own = common::list_adapters();
    vec![own.swap_remove(rank % own.len())]
}

fn assert_together(config: &Config, pieces: usize, meanwhile: impl Fn(usize, u64, &Replicas) + Sync) {
    let alone = alone(config);
    let shares = together(4, None, |peers| {
        let rank = peers.rank();
        let mut replicas = joined(&one_each(rank), config, pieces, peers);
        let reports = ten_steps(&mut replicas, config, |step, replicas| meanwhile(rank, step, replicas));
        assert_same(&replicas, &reports, &alone);
        replicas.compare().unwrap();
        assert_eq!(replicas.checkpoint().unwrap().step, STEPS);
        replicas.shares().iter().map(|(_, share)| share).sum::<usize>()
    });
    assert_eq!(shares.iter().sum::<usize>(), BATCH);
    assert!(shares.iter().all(|&share| share > 0), "{shares:?}");
}

#[test]
fn four_processes_train_a_classifier_as_one() {
    assert_together(&config(Kind::Classifier), 1, |_, _, _| ());
}

#[test]
fn four_processes_train_a_density_as_one() {
    let mut config = config(Kind::Density);
    config.log_det.estimator = Estimator::Unbiased;
    config.log_det.gradient = iresnet::config::Gradient::Neumann;
    assert_together(&config, 1, |_, _, _| ());
}

#[test]
fn four_processes_train_a_reversible_hybrid_in_pieces_as_one() {
    let mut config = config(Kind::Hybrid);
    config.train.memory = iresnet::config::Memory::Reversible;
    assert_together(&config, 2, |_, _, _| ());
}

/// The others do not notice: what they were told stays as it is, and the device is opened again.
#[test]
fn a_device_of_one_process_may_vanish_in_mid_step() {
    let config = config(Kind::Classifier);
    for (number, delay) in [0, 3, 8].into_iter().enumerate() {
        assert_together(&config, 1, |rank, step, replicas| {
            if rank == number && step == 4 {
                let gpu = replicas.shares()[0].0.clone();
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(delay));
                    gpu.destroy();
                });
            }
        });
    }
}

/// Some of its gradients are with the others already: these stay as they are, the rest is computed anew.
#[test]
fn a_device_of_one_process_may_vanish_between_buckets() {
    let mut config = config(Kind::Classifier);
    config.data.batch = 12;
    let alone = alone(&config);
    together(2, None, |peers| {
        let member = Rc::clone(&peers);
        let mut replicas = joined(&one_each(peers.rank()), &config, 1, peers);
        replicas.cut_gradients(256).unwrap();
        let reports = ten_steps(&mut replicas, &config, |step, replicas| {
            if member.rank == 1 && step == 4 {
                *member.victim.borrow_mut() = Some(replicas.shares()[0].0.clone());
            }
        });
        assert_same(&replicas, &reports, &alone);
        replicas.compare().unwrap();
        let notes = replicas.notes().join("\n");
        assert_eq!(notes.contains("is gone") && notes.contains("is back"), member.rank == 1, "{notes}");
    });
}

#[test]
fn four_processes_evaluate_as_one() {
    let config = config(Kind::Hybrid);
    let batches = |_: usize| (0..6).map(|number| batch(&config, 100 + number)).map(|(x, y)| (x, y, BATCH - 1));
    let one = replicas(&common::adapters()[..1], &config, 1).evaluate(batches, 3).unwrap();
    for four in
        together(4, None, |peers| joined(&common::adapters()[..1], &config, 1, peers).evaluate(batches, 3).unwrap())
    {
        assert_eq!((one.samples, one.accuracy), (four.samples, four.accuracy));
        assert!((one.loss - four.loss).abs() <= TOLERANCE * one.loss.abs(), "{} and {}", one.loss, four.loss);
    }
}

#[test]
fn who_holds_other_parameters_is_named() {
    let config = config(Kind::Classifier);
    for error in together(3, Some(1), |peers| {
        let mut replicas = joined(&common::adapters()[..1], &config, 1, peers);
        let (x, labels) = batch(&config, 0);
        replicas.step(&x, &labels).unwrap();
        replicas.compare().unwrap_err()
    }) {
        let said = error.to_string();
        assert!(error.exit_code() == 9 && said.contains("rank 1 holds") && said.contains("rank 0"), "{said}");
    }
}
