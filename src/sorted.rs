//! Maps and sets in sorted vectors: for few entries they are as fast as trees, and their code is a fraction of it, which
//! browsers download.

/// A map whose entries are in the order of their keys.
#[derive(Clone, Debug)]
pub(crate) struct Map<K, V>(Vec<(K, V)>);

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord + Copy, V> Map<K, V> {
    fn find(&self, key: K) -> Result<usize, usize> {
        self.0.binary_search_by_key(&key, |(known, _)| *known)
    }

    pub(crate) fn get(&self, key: K) -> Option<&V> {
        self.find(key).ok().map(|at| &self.0[at].1)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        match self.find(key) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        self.find(key).ok().map(|at| self.0.remove(at).1)
    }

    /// The value of `key`, which is made if there is none.
    pub(crate) fn or_insert(&mut self, key: K, value: V) -> &mut V {
        let at = match self.find(key) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (key, value));
                at
            }
        };
        &mut self.0[at].1
    }

    pub(crate) fn last_key(&self) -> Option<K> {
        self.0.last().map(|(key, _)| *key)
    }

    pub(crate) fn pop_last(&mut self) -> Option<(K, V)> {
        self.0.pop()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }
}

/// A set whose elements are in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Set<K>(Vec<K>);

impl<K> Default for Set<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord + Copy> Set<K> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.0.binary_search(key).is_ok()
    }

    pub(crate) fn insert(&mut self, key: K) {
        if let Err(at) = self.0.binary_search(&key) {
            self.0.insert(at, key);
        }
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, K> {
        self.0.iter()
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        self.iter().chain(other.iter()).copied().collect()
    }

    pub(crate) fn extend(&mut self, more: impl IntoIterator<Item = K>) {
        more.into_iter().for_each(|key| self.insert(key));
    }
}

impl<K: Ord + Copy> FromIterator<K> for Set<K> {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        let mut set = Self::default();
        set.extend(keys);
        set
    }
}

impl<K> IntoIterator for Set<K> {
    type Item = K;
    type IntoIter = std::vec::IntoIter<K>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'s, K> IntoIterator for &'s Set<K> {
    type Item = &'s K;
    type IntoIter = std::slice::Iter<'s, K>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::{Map, Set};

    #[test]
    fn entries_are_in_order_and_keys_are_there_once() {
        let mut map = Map::default();
        for (key, value) in [(3, 'c'), (1, 'a'), (2, 'b'), (3, 'd')] {
            map.insert(key, value);
        }
        assert_eq!(map.values().collect::<String>(), "abd");
        assert_eq!((map.get(2), map.get(4), map.last_key()), (Some(&'b'), None, Some(3)));
        *map.or_insert(2, 'x') = 'y';
        assert_eq!((map.remove(2), map.remove(2)), (Some('y'), None));
        assert_eq!(*map.or_insert(9, 'z'), 'z');
        assert_eq!((map.pop_last(), map.pop_last()), (Some((9, 'z')), Some((3, 'd'))));

        let mut set: Set<u32> = [5, 1, 5, 3].into_iter().collect();
        set.extend([4, 1]);
        assert_eq!(set.iter().copied().collect::<Vec<_>>(), [1, 3, 4, 5]);
        assert!(set.contains(&4) && !set.contains(&2) && set.len() == 4);
        assert_eq!(set.union(&[0, 9].into_iter().collect()).into_iter().collect::<Vec<_>>(), [0, 1, 3, 4, 5, 9]);
    }
}
