"""From a synthesized CDK assembly to plain API calls against the embedded cloud.

    assembly   what is on disk: templates and staged assets
    template   intrinsic functions, resolved without creating anything
    property_reader
               a resource's properties, and which of them were not read
    resource_type
               what is known about one type of resource: how it is named, what creates it
    storage, messaging, compute, permissions, observability
               the types themselves: properties in, API calls out
    not_emulated
               what is knowingly ignored, each with its reason
    deployer   all of it in order

Every name and ARN is known before anything is created, so a template is read as a whole first, and
is refused as a whole if any part of it would have to be skipped. A new resource type may come in;
the room talks to services through `gateway.clients` only.
"""
