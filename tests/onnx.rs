//! The backend tests of the ONNX standard for single operators, as graphs: one test a case on each adapter, and one in
//! the interpreter, each within the case's own tolerance.
//!
//! `tests/fixtures/onnx/convert.py` makes the fixture, which describes every case of the standard's suite. Those that
//! cannot be expressed stand in `unsupported.txt` beside it with the reason; a test fails when that list is not what is
//! found (`BLESS=1` writes it anew), so that nothing is skipped silently.

#[path = "onnx/arrange.rs"]
mod arrange;
#[path = "onnx/case.rs"]
mod case;
mod common;
#[path = "common/compare.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod compare;
#[path = "onnx/contract.rs"]
mod contract;
#[path = "onnx/elements.rs"]
mod elements;
#[path = "onnx/node.rs"]
mod node;
#[path = "onnx/reasons.rs"]
mod reasons;
#[path = "onnx/reduce.rs"]
mod reduce;
#[path = "onnx/update.rs"]
mod update;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use case::{Case, Fixture};
use iresnet::gpu::{Gpu, Tuning};
use iresnet::graph::{Graph, NodeId};
use iresnet::interpret::{self, Array};
use libtest_mimic::{Arguments, Failed, Trial};
use node::{Made, Node};

/// Cases that are planned and compiled as one program: their kernels compile side by side.
const TOGETHER: usize = 64;

/// Adds a case to a graph, whose inputs have `values`; gives the nodes of its outputs.
fn build(case: &Case, fixture: &Fixture, g: &mut Graph, values: &mut Vec<Array>) -> Made {
    let [operator] = case.operators.as_slice() else { return Err("a graph of several nodes".into()) };
    if case.outputs.is_empty() {
        return Err("it has several sets of data".into());
    }
    for tensor in case.inputs.iter().chain(&case.outputs).flatten() {
        if !matches!(tensor.kind.as_str(), "float32" | "bool" | "int64") {
            return Err(reasons::reason(operator)
                .map_or_else(|| format!("it computes with {}, and tensors hold f32", tensor.kind), String::from));
        }
        if tensor.shape.as_ref().is_some_and(|shape| shape.contains(&0)) {
            let is_setup = tensor.kind == "int64";
            if !is_setup {
                return Err("a tensor is empty".into());
            }
        }
    }
    let mut node = Node { case, fixture, g, values };
    let rules = [elements::build, arrange::build, contract::build, reduce::build, update::build];
    let made = rules.iter().find_map(|rule| rule(&mut node, operator));
    let made = made.unwrap_or_else(|| Err(reasons::reason(operator).unwrap_or("no reason is known").into()))?;
    let shape = |id: &NodeId| node.g.shape(*id).extents().to_vec();
    for (tensor, id) in case.outputs.iter().zip(&made) {
        let Some(wanted) = tensor.as_ref().and_then(|tensor| tensor.shape.as_ref()) else { continue };
        if shape(id) != *wanted {
            return Err(format!("its result has shape {:?}, expected {wanted:?}", shape(id)));
        }
    }
    Ok(made)
}

/// A case by itself: its graph with values, or why there is none.
fn alone(case: &Case, fixture: &Fixture) -> Made<(Graph, Vec<Array>)> {
    let (mut g, mut values) = (Graph::new(), Vec::new());
    // A rule of the library that refuses its operands panics.
    let made = catch_unwind(AssertUnwindSafe(|| build(case, fixture, &mut g, &mut values)));
    let made = made.unwrap_or_else(|_| Err("building its graph panics".into()))?;
    for (number, output) in made.into_iter().enumerate() {
        g.output(format!("{}={number}", case.name), output);
    }
    Ok((g, values))
}

/// What one program gives for the cases in it.
type Results = Result<Vec<Vec<Vec<f64>>>, String>;

/// Cases that are run together on one adapter, when the first of them is asked for.
struct Batch {
    fixture: Arc<Fixture>,
    cases: Vec<usize>,
    gpu: Arc<OnceLock<Gpu>>,
    adapter: usize,
    results: OnceLock<Results>,
}

impl Batch {
    fn results(&self) -> &Results {
        self.results.get_or_init(|| {
            let gpu = self.gpu.get_or_init(|| common::open(&common::adapters()[self.adapter]));
            catch_unwind(AssertUnwindSafe(|| self.run(gpu))).map_err(|panic| {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                format!("the program of {} cases fails: {}", self.cases.len(), text.unwrap_or("see above"))
            })
        })
    }

    fn run(&self, gpu: &Gpu) -> Vec<Vec<Vec<f64>>> {
        let (mut g, mut values) = (Graph::new(), Vec::new());
        let mut counts = Vec::new();
        for &number in &self.cases {
            let case = &self.fixture.cases[number];
            let made = build(case, &self.fixture, &mut g, &mut values).expect("it was built alone before");
            counts.push(made.len());
            for (output, id) in made.into_iter().enumerate() {
                g.output(format!("{}={output}", case.name), id);
            }
        }
        let mut found = compare::run(gpu, &g, &values, &mut Tuning::first()).into_iter();
        let wide = |numbers: Vec<f32>| numbers.into_iter().map(f64::from).collect();
        counts.into_iter().map(|count| found.by_ref().take(count).map(wide).collect()).collect()
    }
}

/// Compares the cases that have no graph with the list of them.
fn unsupported(found: &[(String, String)], total: usize) -> Result<(), Failed> {
    let path = case::folder().join("unsupported.txt");
    let counted = format!("{} of {total} cases are not run.\n", found.len());
    let lines = found.iter().map(|(name, reason)| format!("{name}: {reason}\n"));
    let text = counted + &lines.collect::<String>();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, text)?;
        return Ok(());
    }
    let known = std::fs::read_to_string(&path)?;
    let news: Vec<&str> = text.lines().filter(|line| !known.lines().any(|known| known == *line)).collect();
    let gone: Vec<&str> = known.lines().filter(|line| !text.lines().any(|new| new == *line)).collect();
    if news.is_empty() && gone.is_empty() {
        return Ok(());
    }
    Err(format!("{} differs; BLESS=1 writes it anew\nnew: {news:#?}\ngone: {gone:#?}", path.display()).into())
}

/// A case to run somewhere.
type Check = Box<dyn FnOnce() -> Result<(), Failed> + Send>;

/// The tests of one adapter, or of the interpreter: one a case. nextest starts a process for each test, which would open
/// the adapter and compile a program a thousand times over: there all cases are one test.
fn trials(place: &str, checks: Vec<(String, Check)>) -> Vec<Trial> {
    if std::env::var_os("NEXTEST").is_none() {
        let trial = |(name, check): (String, Check)| Trial::test(format!("{place}::{name}"), check);
        return checks.into_iter().map(trial).collect();
    }
    let all = move || -> Result<(), Failed> {
        let failure = |(name, check): (String, Check)| {
            let failed = check().err()?;
            Some(format!("{name}: {}\n", failed.message().unwrap_or("fails")))
        };
        let failures: String = checks.into_iter().filter_map(failure).collect();
        if failures.is_empty() { Ok(()) } else { Err(failures.into()) }
    };
    vec![Trial::test(format!("{place}::every_case"), all)]
}

fn main() {
    let arguments = Arguments::from_args();
    let fixture = Arc::new(Fixture::load());
    let mut supported = Vec::new();
    let mut rest = Vec::new();
    let mut checks: Vec<(String, Check)> = Vec::new();
    for (number, case) in fixture.cases.iter().enumerate() {
        match alone(case, &fixture) {
            Err(reason) => rest.push((case.name.clone(), reason)),
            Ok((graph, values)) => {
                supported.push(number);
                let fixture = Arc::clone(&fixture);
                let check = move || -> Result<(), Failed> {
                    let found = interpret::run(&graph, values);
                    let found: Vec<Vec<f64>> = found.iter().map(|array| array.data().to_vec()).collect();
                    Ok(fixture.cases[number].judge(&fixture, &found)?)
                };
                checks.push((case.name.clone(), Box::new(check)));
            }
        }
    }
    let mut all = trials("interpreter", checks);
    let total = fixture.cases.len();
    all.push(Trial::test("every_other_case_is_listed_with_its_reason", move || unsupported(&rest, total)));
    for (adapter, description) in common::adapters().iter().enumerate() {
        let gpu = Arc::new(OnceLock::new());
        let mut checks: Vec<(String, Check)> = Vec::new();
        for cases in supported.chunks(TOGETHER) {
            let batch = Arc::new(Batch {
                fixture: Arc::clone(&fixture),
                cases: cases.to_vec(),
                gpu: Arc::clone(&gpu),
                adapter,
                results: OnceLock::new(),
            });
            for (place, &number) in cases.iter().enumerate() {
                let batch = Arc::clone(&batch);
                let check = move || -> Result<(), Failed> {
                    let found = batch.results().as_ref().map_err(String::clone)?;
                    Ok(batch.fixture.cases[number].judge(&batch.fixture, &found[place])?)
                };
                checks.push((fixture.cases[number].name.clone(), Box::new(check)));
            }
        }
        all.extend(trials(&description.info().id, checks));
    }
    libtest_mimic::run(&arguments, all).exit();
}
