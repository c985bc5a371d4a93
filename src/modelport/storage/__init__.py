"""URI to local path: a scheme a file, a content-addressed cache, credentials, verification. Imports kinds and kube.

For `local.node` and `cli`. `fetch` is the way in; a third party adds a scheme by the entry point group
`modelport.storage`, whose names are schemes and whose values are functions like `scheme.http.resolve`.
It knows nothing of models but their files, and nothing of pods but the folders that it is given.
"""

from modelport.storage.cache import Cache
from modelport.storage.credentials import Credentials
from modelport.storage.failure import Cancelled, StorageError
from modelport.storage.fetch import Fetched, fetch
from modelport.storage.lock import Lock as Lease
from modelport.storage.look import Look, look
from modelport.storage.mirror import Mirror
from modelport.storage.packed import Limits
from modelport.storage.pattern import Patterns
from modelport.storage.policy import Policy
from modelport.storage.progress import Progress
from modelport.storage.retry import Retry
from modelport.storage.secret import Secret
from modelport.storage.signature import Signer
from modelport.storage.source import Context, InPlace, Listing, RemoteFile, Unchanged
from modelport.storage.uri import redact

__all__ = [
    "Cache",
    "Cancelled",
    "Context",
    "Credentials",
    "Fetched",
    "InPlace",
    "Lease",
    "Limits",
    "Listing",
    "Look",
    "Mirror",
    "Patterns",
    "Policy",
    "Progress",
    "RemoteFile",
    "Retry",
    "Secret",
    "Signer",
    "StorageError",
    "Unchanged",
    "fetch",
    "look",
    "redact",
]
