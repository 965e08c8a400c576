"""Is this token good, and whose is it? The sole user of the JWT library (PyJWT).

Read in this order:

    verify.py         one token against the keys there are: a Principal, or BadToken with the reason
    keys.py           keys from a secret, a file or a JWKS document, each bound to the algorithms it may be used with
    fetch.py          one JWKS document over HTTP, bounded in bytes and time; blocking, for a thread
    remote.py         the keys of a JWKS URL: cached, renewed at a bounded rate
    authenticator.py  all of it for one configuration, with counters
    sign.py           tokens for trying out

Rules: an algorithm is taken from the configuration, never from the token; a key is used only with the algorithms it was
made for; whatever a token holds, the outcome is a Principal or BadToken. No token is ever logged or quoted.
"""

import warnings

from jwt.warnings import InsecureKeyLengthWarning

# `config check`, `token` and the start of `serve` tell of a short secret, once; the library would for every token.
warnings.filterwarnings("ignore", category=InsecureKeyLengthWarning)
