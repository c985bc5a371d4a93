//! Verbs on services.

use crate::gateway::table::{Scope, Verb};

/// What somebody may do.
#[derive(Clone, Debug, Default)]
pub(super) struct Scopes(Vec<(Services, Vec<Verb>)>);

#[derive(Clone, Debug)]
enum Services {
    All,
    Namespace(String),
    One(String),
}

impl Services {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once('/') {
            Some(("*", "*")) => Some(Self::All),
            Some((namespace, "*")) if is_name(namespace) => Some(Self::Namespace(namespace.to_owned())),
            Some((namespace, name)) if is_name(namespace) && is_name(name) => Some(Self::One(text.to_owned())),
            None if text == "*" => Some(Self::All),
            _ => None,
        }
    }

    fn fit(&self, service: &str) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(wanted) => service.split_once('/').is_some_and(|(namespace, _)| namespace == wanted),
            Self::One(wanted) => service == wanted,
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(['*', '/'])
}

impl Scopes {
    pub(super) fn compile(scopes: &[Scope], at: &str) -> Result<Self, String> {
        let compiled = scopes.iter().map(|scope| match Services::parse(&scope.service) {
            Some(services) => Ok((services, scope.verbs.clone())),
            None => Err(format!(
                "{at}.scopes: service must be namespace/name, namespace/* or */*, got {:?}.",
                scope.service
            )),
        });
        Ok(Self(compiled.collect::<Result<_, _>>()?))
    }

    /// Words `verb:namespace/name` out of a token. Words of other kinds (`openid`) mean nothing here.
    pub(super) fn of_words<'a>(words: impl Iterator<Item = &'a str>) -> Self {
        let scope = |word: &'a str| {
            let (verb, services) = word.split_once(':')?;
            Some((Services::parse(services)?, vec![Verb::named(verb)?]))
        };
        Self(words.filter_map(scope).collect())
    }

    pub(super) fn allow(&self, service: &str, verb: Verb) -> bool {
        self.0.iter().any(|(services, verbs)| verbs.contains(&verb) && services.fit(service))
    }
}
