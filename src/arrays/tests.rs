use super::*;

fn all() -> Vec<(&'static str, Array)> {
    vec![
        ("x", Array::floats([2, 3], vec![0.5, -1.0, f32::MIN_POSITIVE, 4.0, 1e30, -0.0])),
        ("double", Array::new([2], Elements::F64(vec![1.0 / 3.0, -1e300]))),
        ("count", Array::new([1, 2], Elements::I64(vec![i64::MIN, 7]))),
        ("flag", Array::new([3], Elements::Bool(vec![true, false, true]))),
        ("scalar", Array::new(Shape::scalar(), Elements::I64(vec![5]))),
        ("none", Array::floats([0, 4], Vec::new())),
    ]
}

fn written(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// The bytes of `numpy.save` for the same array.
#[test]
fn npy_files_are_those_of_numpy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    for (shape, text) in [(&[2, 1][..], "(2, 1)"), (&[2], "(2,)")] {
        write(&path, &[("x", Array::floats(shape, vec![1.0, -2.0]))]).unwrap();
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {text}, }}");
        let mut wanted = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        wanted.extend(format!("{header:<117}\n").bytes());
        wanted.extend([0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]);
        assert_eq!(std::fs::read(&path).unwrap(), wanted);
    }
}

/// The message of an error that this file must give when its array `x` is read.
fn problem(name: &str, bytes: &[u8]) -> String {
    let (_folder, path) = written(name, bytes);
    let error = ArrayFile::open(&path).and_then(|file| file.tensor("x")).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    let text = error.to_string();
    assert!(text.contains(name), "{text}");
    text
}

/// A `.npy` file with this header text.
fn npy_file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([version, 0]);
    match version {
        1 => bytes.extend((header.len() as u16).to_le_bytes()),
        _ => bytes.extend((header.len() as u32).to_le_bytes()),
    }
    bytes.extend(header.bytes());
    bytes.extend(data);
    bytes
}

fn npy_header(descr: &str, order: &str, shape: &str) -> String {
    format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n")
}

#[test]
fn what_is_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.safetensors", "a.npz"] {
        let path = folder.path().join(name);
        write(&path, &all()).unwrap();
        let file = ArrayFile::open(&path).unwrap();
        assert_eq!(file.names(), ["count", "double", "flag", "none", "scalar", "x"]);
        for (name, array) in all() {
            assert_eq!(file.read(name).unwrap(), array, "{name} in {path:?}");
        }
    }
    for (name, array) in all() {
        let path = folder.path().join(format!("{name}.npy"));
        write(&path, &[("any", array.clone())]).unwrap();
        assert_eq!(ArrayFile::open(&path).unwrap().read("whatever").unwrap(), array);
    }
    let error = write(&folder.path().join("a.txt"), &all()).unwrap_err();
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn every_type_and_order_of_numpy_is_understood() {
    let cases: [(&str, Vec<u8>, Elements); 14] = [
        ("<f2", vec![0x00, 0x3c, 0x00, 0xc0], Elements::F32(vec![1.0, -2.0])),
        (">f2", vec![0x3c, 0x00, 0xc0, 0x00], Elements::F32(vec![1.0, -2.0])),
        ("<f4", [1.5f32, -2.0].map(f32::to_le_bytes).concat(), Elements::F32(vec![1.5, -2.0])),
        (">f4", [1.5f32, -2.0].map(f32::to_be_bytes).concat(), Elements::F32(vec![1.5, -2.0])),
        ("<f8", [1.5f64, -2.0].map(f64::to_le_bytes).concat(), Elements::F64(vec![1.5, -2.0])),
        (">f8", [1.5f64, -2.0].map(f64::to_be_bytes).concat(), Elements::F64(vec![1.5, -2.0])),
        ("|i1", vec![255, 3], Elements::I64(vec![-1, 3])),
        ("<i2", vec![255, 255, 3, 0], Elements::I64(vec![-1, 3])),
        (">i4", [-1i32, 3].map(i32::to_be_bytes).concat(), Elements::I64(vec![-1, 3])),
        ("<i8", [-1i64, 3].map(i64::to_le_bytes).concat(), Elements::I64(vec![-1, 3])),
        ("|u1", vec![255, 3], Elements::I64(vec![255, 3])),
        ("<u2", vec![255, 255, 3, 0], Elements::I64(vec![65535, 3])),
        ("<u4", [u32::MAX, 3].map(u32::to_le_bytes).concat(), Elements::I64(vec![u32::MAX.into(), 3])),
        ("|b1", vec![1, 0], Elements::Bool(vec![true, false])),
    ];
    for (descr, data, wanted) in cases {
        for version in [1, 2, 3] {
            let bytes = npy_file(version, &npy_header(descr, "False", "(2,)"), &data);
            let (_folder, path) = written("a.npy", &bytes);
            assert_eq!(ArrayFile::open(&path).unwrap().read("x").unwrap().elements, wanted, "{descr}");
        }
    }
    // Column-major: the columns of [[0, 1, 2], [3, 4, 5]] one after the other.
    let bytes = npy_file(1, &npy_header("|u1", "True", "(2, 3)"), &[0, 3, 1, 4, 2, 5]);
    let (_folder, path) = written("a.npy", &bytes);
    let array = ArrayFile::open(&path).unwrap().read("x").unwrap();
    assert_eq!((array.shape.extents(), array.integers().unwrap()), (&[2, 3][..], vec![0, 1, 2, 3, 4, 5]));
}

#[test]
fn truncated_files_say_so() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.safetensors", "a.npz", "a.npy"] {
        let path = folder.path().join(name);
        write(&path, &[("x", Array::floats([40], vec![1.0; 40]))]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for len in [0, 1, 7, 9, 20, whole.len() / 2, whole.len() - 1] {
            let text = problem(name, &whole[..len]);
            assert!(["truncated", "empty", "damaged"].iter().any(|word| text.contains(word)), "{len}: {text}");
        }
        let mut longer = whole.clone();
        longer.extend([0; 16]);
        if name != "a.npz" {
            problem(name, &longer);
        }
    }
}

/// Headers that claim more than there is are refused before anything is allocated for them.
#[test]
fn hostile_headers_are_refused() {
    let header = |shape: &str| npy_file(1, &npy_header("<f4", "False", shape), &[0; 8]);
    let cases = [
        (header("(1000000000000,)"), "1000000000000"),
        (header("(4294967296, 4294967296, 4294967296)"), "more than a memory can hold"),
        (header("(99999999999999999999999,)"), "extent"),
        (header("(-2,)"), "extent"),
        (header(&format!("({})", "1, ".repeat(100))), "axes"),
        (npy_file(1, &"(".repeat(9000), &[]), "header"),
        (npy_file(1, &format!("{{'shape': {}", "(".repeat(9000)), &[]), "header"),
        (npy_file(2, &npy_header("<f4", "False", "(2,)").replace(' ', &" ".repeat(5000)), &[0; 8]), "header"),
        (npy_file(1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", &[0; 8]), "records"),
        (npy_file(1, &npy_header("|O", "False", "(2,)"), &[0; 8]), "|O"),
        (npy_file(1, &npy_header("<c8", "False", "(1,)"), &[0; 8]), "<c8"),
        (npy_file(1, &npy_header("<U2", "False", "(1,)"), &[0; 8]), "<U2"),
        (npy_file(9, &npy_header("<f4", "False", "(2,)"), &[0; 8]), "version 9"),
        (npy_file(1, "{'descr': '<f4'}", &[0; 8]), "missing"),
        (npy_file(1, "", &[]), "header"),
        (b"PK\x03\x04 not a number in sight".to_vec(), "NUMPY"),
    ];
    for (bytes, part) in cases {
        let text = problem("a.npy", &bytes);
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
    let mut huge = npy_file(2, "", &[]);
    huge.truncate(8);
    huge.extend(u32::MAX.to_le_bytes());
    assert!(problem("a.npy", &huge).contains("claims a header"));
    let mut safetensors = u64::MAX.to_le_bytes().to_vec();
    safetensors.extend(b"{}");
    problem("a.safetensors", &safetensors);
    let table = br#"{"x":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,0]}}"#;
    let mut safetensors = (table.len() as u64).to_le_bytes().to_vec();
    safetensors.extend(table);
    problem("a.safetensors", &safetensors);
}

#[test]
fn what_is_no_finite_number_is_named_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut data = vec![0.0f32; 24];
    data[17] = f32::NAN;
    let cases = [
        (Array::floats([2, 3, 4], data), "NaN at [1, 1, 1]"),
        (Array::new([2], Elements::F64(vec![0.0, f64::NEG_INFINITY])), "-inf at [1]"),
        (Array::new([2], Elements::F64(vec![0.0, 1e300])), "beyond the range of float32"),
        (Array::new([1], Elements::I64(vec![3])), "integers"),
        (Array::new([1], Elements::Bool(vec![true])), "truth values"),
    ];
    for (array, part) in cases {
        let path = folder.path().join("a.npz");
        write(&path, &[("x", array)]).unwrap();
        let text = ArrayFile::open(&path).unwrap().tensor("x").unwrap_err().to_string();
        assert!(text.contains(part) && text.contains("\"x\""), "{part:?} is missing in: {text}");
    }
    let path = folder.path().join("b.safetensors");
    write(&path, &[("y", Array::floats([1], vec![1.0]))]).unwrap();
    let text = ArrayFile::open(&path).unwrap().tensor("x").unwrap_err().to_string();
    assert!(text.contains("no array \"x\"") && text.contains("\"y\""), "{text}");
    assert!(Array::floats([2], vec![1.0, 0.5]).integers().unwrap_err().contains("0.5 at [1]"));
}
