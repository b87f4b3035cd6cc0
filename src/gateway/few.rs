//! A set that mostly holds one thing or nothing: sorted, in one piece of memory, which an empty set does not have. A hash set of
//! one room takes 150 bytes, this one 40.

/// A set of few. Adding and removing move what stands behind.
#[derive(Debug)]
pub struct Few<T>(Vec<T>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Ord> Few<T> {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    pub fn contains(&self, item: &T) -> bool {
        self.0.binary_search(item).is_ok()
    }

    /// False: it was there already.
    pub fn insert(&mut self, item: T) -> bool {
        let Err(place) = self.0.binary_search(&item) else {
            return false;
        };
        if self.0.capacity() == 0 {
            self.0.reserve_exact(1);
        }
        self.0.insert(place, item);
        true
    }

    /// False: it was not there.
    pub fn remove(&mut self, item: &T) -> bool {
        let Ok(place) = self.0.binary_search(item) else {
            return false;
        };
        self.0.remove(place);
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
        true
    }
}

impl<T> IntoIterator for Few<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_set_and_keeps_no_room_to_spare() {
        let mut few = Few::default();
        assert!(few.insert(2) && few.0.capacity() == 1);
        assert!(few.insert(3) && few.insert(1) && !few.insert(2));
        assert!(few.iter().eq(&[1, 2, 3]) && few.len() == 3);
        assert!(few.contains(&3) && !few.contains(&4));
        assert!(few.remove(&1) && !few.remove(&1) && few.remove(&2) && few.remove(&3));
        assert!(few.0.capacity() == 0 && few.into_iter().next().is_none());
    }
}
