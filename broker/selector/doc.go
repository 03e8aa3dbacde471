// Package selector is the small language in which a route says who may serve whom:
//
//	worker.skills HAS task.intent AND worker.shops HAS task.shop AND worker.level >= 0.5 OR task.vip == true
//	worker.skill(task.intent) >= 0.6 AND NOT worker.kind == 'bot'
//	task.channel IN ['web', 'app'] AND worker.languages HAS task.language
//
// A selector speaks of one task and one worker. It is parsed and type-checked once, when a route is saved ([Schema.Parse]):
// a mistake is told with its place, what was expected, and what was probably meant. It is bounded in length, nodes and
// depth, it has no loops and no functions besides worker.skill, and it cannot fail at dispatch.
//
// # Meaning
//
// OR binds weaker than AND, AND weaker than NOT, NOT weaker than comparisons. Words are written in capitals or small
// letters. Strings stand in single or double quotes, with a backslash before a quote or a backslash.
//
// Whatever is not there, or is of another type than the schema says, compares as false with everything, so `a != b`, which
// is NOT a == b, is true of it. A skill that a worker does not have has the level 0. There is nothing in between true and
// false: NOT (a < b) is true where a is not there.
//
// # Evaluation
//
// [Expr.Bind] puts a task's attributes in and simplifies what is left to a [Residual]: a condition on workers alone, in a
// canonical form. Tasks whose residuals have the same [Residual.Key] want the same, and form a class; a worker is held
// against a class when the worker, the class or the policy changes, never at dispatch. [Expr.Attributes] names what the
// residual depends on, so that a caller can remember it by these values and does not bind twice.
//
// [Expr.Eval] interprets the selector as it was written: the meaning that Bind has to keep, for tests and explanations.
//
// Everything here is a value or immutable, pure, and safe for concurrent use.
package selector
