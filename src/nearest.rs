//! The nearest of several names, for messages about a name nobody knows.

/// Number of single-character insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`
/// (each stretch of text edited at most once). Upper and lower case count as the same.
pub fn distance(a: &str, b: &str) -> usize {
    let letters = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<Vec<char>>();
    let (a, b) = (letters(a), letters(b));
    // Row i holds the distances of a[..i] to every b[..j]; a swap looks two rows back.
    let mut older: Vec<usize> = vec![0; b.len() + 1];
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut current = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = previous[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            current[j] = replaced.min(previous[j] + 1).min(current[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                current[j] = current[j].min(older[j - 2] + 1);
            }
        }
        older = std::mem::replace(&mut previous, current);
    }
    previous[b.len()]
}

/// The candidate nearest to `word`, the first of several equally near. `None` when even that one differs in more than
/// half of its characters: a guess that far off would only confuse.
pub fn nearest<'a, S: AsRef<str> + ?Sized + 'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a S>,
) -> Option<&'a str> {
    let scored = candidates.into_iter().map(|candidate| (distance(word, candidate.as_ref()), candidate.as_ref()));
    let (edits, best) = scored.min_by_key(|&(edits, _)| edits)?;
    (2 * edits <= best.chars().count().max(word.chars().count())).then_some(best)
}

/// A message saying that `word` is not a known `kind`, which known one is nearest, and what all of them are.
pub fn unknown<'a, S: AsRef<str> + ?Sized + 'a>(
    kind: &str,
    word: &str,
    candidates: impl IntoIterator<Item = &'a S>,
) -> String {
    let known: Vec<&str> = candidates.into_iter().map(AsRef::as_ref).collect();
    let guess =
        nearest(word, known.iter().copied()).map_or(String::new(), |best| format!("; did you mean \"{best}\"?"));
    format!("unknown {kind} \"{word}\"{guess} (known: {})", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (a, b, edits) in [
            ("", "", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("moons", "moosn", 1),
            ("Moons", "moons", 0),
            ("abc", "abc", 0),
        ] {
            assert_eq!(distance(a, b), edits, "{a:?} to {b:?}");
            assert_eq!(distance(b, a), edits, "{b:?} to {a:?}");
        }
    }

    #[test]
    fn nearest_finds_the_typo_and_refuses_nonsense() {
        let names = ["moons", "circles", "pinwheel"];
        assert_eq!(nearest("cirlces", names), Some("circles"));
        assert_eq!(nearest("xyzzy", names), None);
        assert_eq!(nearest::<str>("moons", []), None);
    }

    #[test]
    fn message_names_the_guess_and_lists_all() {
        let message = unknown("toy", "mons", ["moons", "circles"]);
        assert_eq!(message, "unknown toy \"mons\"; did you mean \"moons\"? (known: moons, circles)");
        assert_eq!(unknown("toy", "qqqqq", ["moons"]), "unknown toy \"qqqqq\" (known: moons)");
    }
}
