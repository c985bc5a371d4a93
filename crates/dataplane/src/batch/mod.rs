//! The queue between the connections and a model.
