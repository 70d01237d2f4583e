"""From a synthesized CDK assembly to plain API calls against the embedded cloud.

    assembly   what is on disk: templates and staged assets
    template   intrinsic functions, resolved without creating anything
    reader     a resource's properties, and which of them nobody read
    kind       what is known about one type of resource: how it is named, what creates it
    storage, messaging, computing, permissions, observing
               the types themselves: properties in, API calls out
    not_emulated
               what may be left out, each with its reason
    deployer   all of it in order

Every name and ARN is known before anything is created, so a template is read as a whole first, and
is refused as a whole if any part of it would have to be skipped.
"""
