//! Every scheme over the network: how many nodes it takes, and what thresholds are refused.

use kms_client::fake::Conduct;
use kms_client::{ClientError, RequestError};
use kms_crypto::error::SplitError;
use kms_crypto::scheme::SchemeKind;

use super::{Scene, Threshold, WEEK};

const NODES: usize = 4;

/// A scene of this scheme with a grant over all nodes.
async fn granted(scheme: SchemeKind) -> (Scene, kms_client::Grant) {
    let scene = Scene::of(NODES, scheme);
    let wish = Threshold::new(2, u8::try_from(NODES).unwrap()).unwrap();
    let grant = scene.grant_for(scheme.rule().adapt(wish), WEEK).await;
    (scene, grant.unwrap())
}

#[tokio::test]
async fn every_scheme_shares_and_revokes() {
    for scheme in SchemeKind::ALL {
        let (scene, grant) = granted(scheme).await;
        assert_eq!(grant.params.scheme(), scheme.id());
        assert_eq!(grant.nodes.len(), NODES, "one fragment on each node");
        scene.opens(&grant).await;
        let outcome = scene.revoke(&grant).await.unwrap();
        assert_eq!(outcome.removal.removed.len(), NODES);
        let refused = scene.refused(&grant).await;
        assert!(
            matches!(refused, ClientError::Revoked { .. }),
            "{refused:?}"
        );
    }
}

/// With one node left, or with one node gone: who still reads.
#[tokio::test]
async fn as_many_nodes_are_needed_as_the_scheme_says() {
    for scheme in SchemeKind::ALL {
        for gone in [1, 2, 3] {
            let (scene, grant) = granted(scheme).await;
            for node in 0..gone {
                scene.network.set(node, Conduct::Dead);
            }
            if NODES - gone >= usize::from(grant.threshold.needed()) {
                scene.opens(&grant).await;
            } else {
                let refused = scene.refused(&grant).await;
                assert!(
                    matches!(refused, ClientError::NoQuorum(_)),
                    "{scheme:?} without {gone}: {refused:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_lying_node_is_passed_over_where_another_can_answer() {
    for scheme in [SchemeKind::Bbs98, SchemeKind::Ecies] {
        let (scene, grant) = granted(scheme).await;
        for node in 0..NODES - 1 {
            scene.network.set(node, Conduct::Liar);
        }
        scene.opens(&grant).await;
    }
    let (scene, grant) = granted(SchemeKind::Afgh).await;
    scene.network.set(0, Conduct::Liar);
    scene.refused(&grant).await;
}

#[tokio::test]
async fn a_threshold_the_scheme_does_not_work_with_is_refused_before_any_node_is_asked() {
    for scheme in [SchemeKind::Bbs98, SchemeKind::Ecies, SchemeKind::Afgh] {
        let scene = Scene::of(NODES, scheme);
        let refused = scene.grant_for(Threshold::new(2, 3).unwrap(), WEEK).await;
        let expected = SplitError::Rule {
            scheme: scheme.id(),
            rule: scheme.rule(),
            needed: 2,
            total: 3,
        };
        let Err(ClientError::BadRequest(RequestError::Split(found))) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(found, expected);
        assert_eq!(scene.network.fragments(), 0);
    }
}
