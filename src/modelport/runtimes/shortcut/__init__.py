"""Shortcuts: what well-known fitted estimators compute, without the checks around it.

Of the 80 µs that `LogisticRegression.predict` takes for a row, 2 µs are arithmetic. The rest asks what the input is:
an array or a frame, of which library, dtype, shape and width, with which names. The server has answered all that
before the model is called. A shortcut is the arithmetic alone, made of a fitted estimator's attributes when it is
loaded, for `runtimes.sklearn`:

- of exact types, never of a subclass, and of the scikit-learn versions that it was written for (`family`)
- bit-equal to the estimator's own method, dtype and shape included, which is proven at load on generated rows
  (`proof`); what differs is not used
- for the rows that it is sure of: others raise NotCovered, and the estimator's own method answers or refuses
  them in its own words

Anything unusual in an estimator raises Unusual while a shortcut is made, and there is none. What is changed in an
estimator after it was loaded is not seen: nothing does so while it is served.

The package imports NumPy, and scikit-learn when a model is loaded; of ours `runtimes.framework`, `runtimes.estimator` and
`protocol`.
"""
