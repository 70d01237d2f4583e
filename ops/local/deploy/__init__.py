"""From a synthesized CDK assembly to plain API calls against the embedded cloud.

    assembly   what is on disk: templates and staged assets
    template   intrinsic functions, resolved without creating anything
    reader     a resource's properties, and which of them nobody read
    kinds      one function per resource type: properties in, API calls out
    deployer   all of it in order

Every name and ARN is known before anything is created, so a template is read as a whole first, and
is refused as a whole if any part of it would have to be skipped.
"""
